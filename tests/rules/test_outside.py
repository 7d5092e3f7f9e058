"""Terms of a loss that a program outside TensorFlow computes: a finding with advice, and no repair."""

from __future__ import annotations

from textwrap import dedent

from tapefix.analysis.module import Module
from tapefix.findings import Finding
from tapefix.rules import all_rules
from tapefix.rules.base import check_all

CODEC = """
    import zlib
    import numpy as np
    import tensorflow as tf

    model = tf.keras.Sequential([tf.keras.layers.Dense(4)])

    def size(code):
        return float(len(zlib.compress(np.rint(code * 8).astype(np.int8).tobytes())))

    with tf.GradientTape() as tape:
        code = model(x)
        loss = tf.reduce_mean(tf.square(code - x)){term}
    gradients = tape.gradient(loss, model.trainable_variables)
    print(size(code.numpy()))
"""


def found(term: str) -> list[Finding]:
    return [f for f in check_all(all_rules(), Module(dedent(CODEC).format(term=term))) if f.certain]


def test_a_size_on_disk_is_no_term_that_trains() -> None:
    (finding,) = found(" + 0.01 * size(code.numpy())")
    assert (finding.code, finding.candidates, finding.silent) == ("TPF202", (), True)
    assert "stand-in" in finding.advice


def test_a_size_on_disk_that_is_only_logged_or_weighs_is_right() -> None:
    assert not found("")
    assert not found(" * size(code.numpy())")
    assert not found(" + 0.01 * size(x)")


def test_a_store_that_others_see_has_no_repair() -> None:
    text = """
        import numpy as np
        import tensorflow as tf

        model = tf.keras.Sequential([tf.keras.layers.Dense(4)])
        with tf.GradientTape() as tape:
            errors = tf.square(model(x) - y).numpy()
            for row in errors:
                row[2:] = 0.0
            loss = np.mean(errors)
        gradients = tape.gradient(loss, model.trainable_variables)
    """
    findings = [f for f in check_all(all_rules(), Module(dedent(text))) if f.certain]
    assert findings and not any(f.candidates for f in findings)
    assert any("takes no stores" in f.advice for f in findings)
