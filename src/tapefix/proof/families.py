"""Hypotheses of what the data of a piece of code are: a small ordered set of shapes, and what its words say.

Standard library only: this runs in the user's interpreter.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Family(NamedTuple):
    """One hypothesis of what the data are: a target and a prediction that fit each other.

    `truth` and `form` say how the values are distributed; `parts` is how many tensors one argument holds, 0 where it
    is a tensor itself. `symbolic`: the function wants Keras' symbolic inputs. `listed`: sizes come in lists.
    """

    truth: str
    target: tuple[int, ...]
    form: str
    shape: tuple[int, ...]
    parts: int = 0
    symbolic: bool = False
    listed: bool = False


BINARY = Family("bits", (8, 1), "sigmoid", (8, 1))
ONE_HOT = Family("one-hot", (8, 4), "softmax", (8, 4))
SPARSE = Family("classes", (8,), "normal", (8, 4))
REGRESSION = Family("normal", (8, 4), "normal", (8, 4))
VECTORS = Family("normal", (8,), "normal", (8,))
MASKS = Family("bits", (2, 16, 16, 1), "sigmoid", (2, 16, 16, 1))
REGIONS = Family("one-hot", (2, 16, 16, 4), "softmax", (2, 16, 16, 4))
IMAGES = Family("unit", (2, 16, 16, 3), "sigmoid", (2, 16, 16, 3))
LARGER = Family("unit", (2, 32, 32, 3), "sigmoid", (2, 32, 32, 3))
LARGE = Family("unit", (1, 64, 64, 3), "sigmoid", (1, 64, 64, 3))
LARGEST = Family("unit", (1, 224, 224, 3), "sigmoid", (1, 224, 224, 3))
FEATURES = Family("normal", (2, 16, 16, 8), "normal", (2, 16, 16, 8))
SEQUENCES = Family("normal", (2, 12, 8), "normal", (2, 12, 8))
TAGS = Family("classes", (2, 12), "normal", (2, 12, 8))
TOKENS = Family("classes", (2, 12), "ids", (2, 12))
WIDE = Family("normal", (8, 16), "normal", (8, 16))
BOXES = Family("boxes", (8, 4), "boxes", (8, 4))
WAVES = Family("normal", (2, 256), "normal", (2, 256))
VOLUMES = Family("bits", (1, 8, 8, 8, 2), "sigmoid", (1, 8, 8, 8, 2))
MATRICES = Family("normal", (2, 8, 8), "normal", (2, 8, 8))
PAIRS = Family("classes", (8,), "normal", (8, 8))
SCALARS = Family("normal", (), "normal", ())
SINGLE = Family("normal", (4,), "normal", (4,))

FOR_LOSSES = (
    BINARY, ONE_HOT, SPARSE, MASKS, IMAGES, SEQUENCES, TAGS, REGRESSION, VECTORS, BOXES, REGIONS, VOLUMES, LARGER,
    LARGE, WAVES, MATRICES, WIDE, PAIRS, SCALARS,
)  # fmt: skip
FOR_LAYERS = (
    REGRESSION, SEQUENCES, FEATURES, IMAGES, TOKENS, WIDE, LARGER, LARGE, VOLUMES, WAVES, VECTORS, BINARY, MATRICES,
    SCALARS, LARGEST,
)  # fmt: skip


def families(source: str, names: list[str], loss: bool) -> list[Family]:
    """The hypotheses for a piece of code, likeliest first, by the words and shapes in it and its parameters' names."""
    words = f"{source} {' '.join(names)}"
    listed = [*_literal(source, loss)]
    wanted: list[Family] = []
    for pattern, found in _WORDS_LOSS if loss else _WORDS_LAYER:
        if re.search(pattern, words):
            wanted += found
    listed += [*wanted, *(FOR_LOSSES if loss else FOR_LAYERS)]
    told = {1 + match.count(",") for match in _TOLD_SHAPE.findall(source)} if loss else set()
    if told:
        listed.sort(key=lambda family: len(family.shape) not in told)
    parts = _parts(source)
    if parts:
        listed = [one for f in listed for one in (f._replace(parts=parts), f)]
    return list(dict.fromkeys(listed))


_WORDS_LOSS: tuple[tuple[str, tuple[Family, ...]], ...] = (
    (r"bounding|\bb?box|\biou_|giou|ciou", (BOXES, SEQUENCES)),
    (r"ssim|total_variation|image_gradients|psnr|sobel", (IMAGES, LARGER, LARGE)),
    (r"sparse_|tf\.one_hot|K\.one_hot", (SPARSE, TAGS, Family("classes", (8, 1), "normal", (8, 4)))),
    (r"axis ?= ?\[1, ?2, ?3, ?4\]|volum|3[dD]\b", (VOLUMES,)),
    (r"axis ?= ?[\[(]1, ?2, ?3[\])]|\bmask|segment", (MASKS, REGIONS, IMAGES)),
    (r"axis ?= ?[\[(]1, ?2[\])]", (MASKS, SEQUENCES)),
    (r"z_mean|log_?var|mu\b|logsigma|embedding|triplet|cosine|anchor", (REGRESSION, ONE_HOT)),
    (r"categorical|softmax|reduce_sum\([^()]*axis ?= ?-1|num_classes", (ONE_HOT, REGIONS)),
)
_WORDS_LAYER: tuple[tuple[str, tuple[Family, ...]], ...] = (
    (r"Embedding\(|\bids\b|token", (TOKENS,)),
    (r"Conv3D|volume", (VOLUMES,)),
    (r"Conv2D|Pooling2D|UpSampling2D|image|nn\.conv2d\b|channels|height", (IMAGES, FEATURES, LARGER, LARGE)),
    (r"LSTM|GRU|Conv1D|Attention|attention|sequence|seq_len|timestep", (SEQUENCES, MATRICES, TOKENS)),
)


# A comment or docstring that says `(batch_size, height, width, channels)`.
_TOLD_SHAPE = re.compile(r"[(\[] ?(?:batch\w*|bs|B|N|None) ?(,[^()\[\]]*)")


def _literal(source: str, loss: bool) -> list[Family]:
    """Shapes that the code itself names: `Input((28, 28, 1))`, `input_shape=(784,)`, `reshape(x, [-1, 28, 28])`."""
    found = []
    for match in re.finditer(r"(?:shape ?[=:] ?|Input\()\(?\(?((?:\d+, ?)+\d*)\)", source):
        sizes = [int(size) for size in re.findall(r"\d+", match.group(1))]
        if sizes and all(0 < size <= 4096 for size in sizes) and len(sizes) < 5:
            shape = (2, *sizes)
            found.append(Family("unit" if loss else "normal", shape, "sigmoid" if loss else "normal", shape))
    for match in re.finditer(r"(?:\.\.\.|:), ?(?:\d+ ?:)? ?(\d+)\]", source):
        last = int(match.group(1)) + 1
        if 2 < last <= 512:
            found += [Family("unit", (*lead, last), "sigmoid", (*lead, last)) for lead in ((8,), (2, 6), (2, 4, 4))]
    return found[:9]


def _parts(source: str) -> int:
    """How many tensors the code takes out of its one argument: `a, b = inputs`, `inputs[1]`."""
    match = re.search(r"^\s*\(?((?:\w+, ?)+\w+)\)? = (inputs?|x|features|tensors|args)$", source, re.MULTILINE)
    if match:
        return match.group(1).count(",") + 1
    numbers = [int(n) for n in re.findall(r"\binputs?\[(\d)\]", source)]
    return max(2, max(numbers) + 1) if numbers else 0


def refined(message: str, family: Family) -> list[Family]:
    """What an exception says about the shape that was wanted."""
    match = re.search(r"expected shape=\((?:None|\d+), ([\d, ]+)\)", message)
    if match:
        sizes = tuple(int(size) for size in re.findall(r"\d+", match.group(1)))
        return [Family("normal", (2, *sizes), "normal", (2, *sizes), family.parts)]
    match = re.search(r"axis -1 of input shape to have value (\d+)|In\[0\]: \[[\d,]+\], In\[1\]: \[(\d+),", message)
    last = int(match.group(1) or match.group(2)) if match else 0
    match = re.search(r"Incompatible shapes: \[([\d,]+)\] vs\. \[([\d,]+)\]", message)
    if match:
        shapes = [tuple(int(size) for size in part.split(",") if size) for part in match.groups()]
        last = next((one[-1] for one in shapes if one and one[:-1] == family.shape[:-1] and one != family.shape), last)
    if 0 < last <= 4096 and family.shape and last != family.shape[-1]:
        shape = (*family.shape[:-1], last)
        return [family._replace(shape=shape, target=shape, truth="normal", form="normal")]
    match = re.search(r"along split_dim .* Got: (\d+)|num_split (\d+)", message)
    if match and family.shape and family.target:
        last = int(match.group(1) or match.group(2))
        wider = [family._replace(shape=(*family.shape[:-1], last)), family._replace(target=(*family.target[:-1], last))]
        return [one for one in wider if one != family]
    if not family.listed and re.search(r"'int' object is not (iterable|subscriptable)|'int' has no len", message):
        return [family._replace(listed=True)]
    match = re.search(r"not enough values to unpack \(expected (\d)|Expected (\d) (?:inputs|input tensors)", message)
    if match and not family.parts:
        return [family._replace(parts=int(match.group(1) or match.group(2)))]
    return []
