"""How runs end, and that nothing gets out of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tapefix.errors import TapefixError
from tapefix.interpreter import find_interpreter
from tapefix.proof.client import ForkServer, ProofUnavailable, RunRequest

from .helpers import Runner, line_of, source, states

STEP = """
w = tf.Variable(1.0, name="w")
def step():
    with tf.GradientTape() as tape:
        loss = w * w
    w.assign_sub(0.01 * tape.gradient(loss, w))
"""

needs_tensorflow = pytest.mark.tensorflow
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the walls are the Linux kernel's")


@needs_tensorflow
@pytest.mark.parametrize(
    ("code", "end", "kind"),
    [
        ("print('done')", "finished", None),
        ("raise SystemExit", "finished", None),
        ("import sys; sys.exit(0)", "finished", None),
        ("import sys; sys.exit(3)", "exit", "SystemExit"),
        ("import sys; sys.exit('no data')", "exit", "SystemExit"),
        ("import os; os._exit(0)", "finished", None),
        ("import os; os._exit(4)", "exit", "SystemExit"),
        ("raise RuntimeError('bad')", "exception", "RuntimeError"),
        ("raise KeyboardInterrupt", "exception", "KeyboardInterrupt"),
        ("def f(:", "exception", "SyntaxError"),
        ("import os; os.abort()", "died", "SIGABRT"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "died", "SIGKILL"),
        ("import ctypes; ctypes.string_at(0)", "died", "SIGSEGV"),
    ],
)
def test_ends(run: Runner, code: str, end: str, kind: str | None) -> None:
    result = run(f"{code}  # here")
    assert (result.end, result.failure and result.failure.type) == (end, kind)
    if kind and "_exit" not in code and "SIGKILL" not in code:
        assert result.failure is not None
        assert result.failure.line == line_of(source(code + "  # here"), "# here")


@needs_tensorflow
@pytest.mark.parametrize("call", ["model(tf.ones((1, 2)))", "tf.function(model)(tf.ones((1, 2)))"])
def test_failure_of_a_layer_is_told_in_its_own_words(run: Runner, call: str) -> None:
    result = run(
        f"""
        class Broken(tf.keras.Model):
            def call(self, inputs):
                raise AttributeError("it has no scale")

        model = Broken()
        {call}
        """
    )
    assert result.failure is not None
    assert result.failure.message == "it has no scale"


@needs_tensorflow
def test_crash_keeps_what_was_measured(run: Runner) -> None:
    result = run(STEP + "step()\nimport os\nos.abort()")
    assert result.end == "died"
    assert states(result) == {"w": "ok"}


@needs_tensorflow
def test_stops_when_enough_was_measured(run: Runner) -> None:
    result = run(STEP + "while True:\n    step()", patience=0.3, timeout=20)
    assert result.end == "stopped"
    assert result.seconds < 5
    assert len(result.gradients) >= 3
    assert result.variables[0].changed


@needs_tensorflow
def test_stops_in_a_long_phase_without_gradients(run: Runner) -> None:
    result = run(STEP + "import time\nfor _ in range(3):\n    step()\ntime.sleep(60)", patience=0.3, timeout=20)
    assert result.end == "stopped"
    assert result.seconds < 5


@needs_tensorflow
def test_stops_fit(run: Runner) -> None:
    result = run(
        """
        model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(np.ones((64, 2)), np.ones((64, 1)), epochs=100000, batch_size=32, verbose=0)
        """,
        patience=1,
        timeout=20,
    )
    assert result.end == "stopped"
    assert result.seconds < 6
    assert result.losses


@needs_tensorflow
def test_does_not_stop_before_each_site_was_seen_often_enough(run: Runner) -> None:
    result = run(STEP + "import time\nfor _ in range(4):\n    step()\n    time.sleep(0.2)", steps=4, patience=0.1)
    assert [g.step for g in result.gradients] == [1, 2, 3, 4]


@needs_tensorflow
@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import time\ntime.sleep(100)",
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "import os\nos.kill(os.getpid(), 19)",
    ],
)
def test_time_limit(run: Runner, code: str) -> None:
    result = run(STEP + "step()\n" + code, timeout=0.8)
    assert result.end == "timeout"
    assert result.seconds < 4
    assert states(result) == {"w": "ok"}


@needs_tensorflow
def test_script_sees_itself_as_if_it_ran_alone(run: Runner, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.txt").write_text("theirs")
    (tmp_path / "log.txt").write_text("theirs")
    (tmp_path / "helper.py").write_text("value = 5\n")
    result = run(
        f"""
        import sys, os, inspect
        import helper
        assert __name__ == "__main__" and sys.modules["__main__"].helper is helper
        assert __file__ == {str(tmp_path / "train.py")!r}, __file__
        assert sys.argv == [__file__, "--epochs", "3"], sys.argv
        assert sys.stdin.read() == ""
        assert open("data/x.txt").read() == "theirs"
        open("data/new.txt", "w").write("ours")
        open("log.txt", "a").write(" and ours")
        assert open("log.txt").read() == "theirs and ours"
        def f():
            return 1
        assert "return 1" in inspect.getsource(f)
        try:
            import recorder
        except ImportError:
            print("good")
        """,
        argv=("--epochs", "3"),
    )
    assert result.end == "finished", result.failure
    assert result.output.strip() == "good"
    assert (tmp_path / "log.txt").read_text() == "theirs"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["data", "helper.py", "log.txt", "train.py", "x.txt"]


@needs_tensorflow
@linux_only
def test_network_is_closed(run: Runner) -> None:
    result = run(
        """
        import socket
        try:
            socket.create_connection(("127.0.0.1", 9), 1)
        except OSError as error:
            print(error.errno in (101, 13))
        try:
            socket.create_connection(("192.0.2.1", 80), 1)
        except OSError as error:
            print(error.errno in (101, 13))
        """
    )
    if "network" in result.missing_protection:
        pytest.skip("no namespaces here")
    assert result.output.split() == ["True", "True"]


@needs_tensorflow
def test_output_without_end_is_cut(run: Runner) -> None:
    result = run(
        """
        import os
        print("first", flush=True)
        block = b"x" * (1 << 20)
        for _ in range(1000):
            os.write(1, block)
        print("last")
        """
    )
    assert result.end == "finished"
    assert result.output.startswith("first")
    assert result.output.endswith("last\n")
    assert len(result.output) < 100_000


def alive(marker: str) -> list[int]:
    """The processes that have `marker` on their command line."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and marker.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def wait_until_gone(marker: str, seconds: float = 6) -> list[int]:
    """What is left of them in the end."""
    deadline = time.monotonic() + seconds
    while alive(marker) and time.monotonic() < deadline:
        time.sleep(0.02)
    return alive(marker)


MARKER = f"98765.{os.getpid()}"  # seconds to sleep, which no other run of the tests sleeps
STRAY = """
import os, subprocess, time
subprocess.Popen(["sleep", "{marker}"], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        subprocess.Popen(["sleep", "{marker}"], start_new_session=True)
        time.sleep(60)
    os._exit(0)
time.sleep({wait})
"""


@needs_tensorflow
@linux_only
@pytest.mark.parametrize("wait", [0.3, 60])
def test_no_descendant_outlives_its_run(run: Runner, wait: float) -> None:
    marker = f"{MARKER}{int(wait)}"
    result = run(STRAY.format(marker=marker, wait=wait), timeout=1)
    assert result.end == ("finished" if wait < 1 else "timeout")
    assert wait_until_gone(marker) == []


@needs_tensorflow
@linux_only
def test_forks_without_end_are_ended(run: Runner) -> None:
    result = run("import os\nwhile True:\n    os.fork()", timeout=3)
    assert result.end in ("died", "timeout")
    assert run("print(1)").end == "finished"


@needs_tensorflow
def test_two_at_a_time_and_all_are_answered(fork_server: ForkServer, tmp_path: Path) -> None:
    requests = [RunRequest(tmp_path / "a.py", source(f"print({n})"), seed=n) for n in range(5)]
    futures = [fork_server.submit(request) for request in requests]
    assert [future.result().output for future in futures] == [f"{n}\n" for n in range(5)]


@needs_tensorflow
@linux_only
def test_close_leaves_nothing(tmp_path: Path) -> None:
    server = ForkServer(sys.executable, temp=tmp_path)
    server.wait_ready()
    future = server.submit(RunRequest(tmp_path / "a.py", source(STRAY.format(marker=f"{MARKER}7", wait=60))))
    while len(alive(f"{MARKER}7")) < 2:
        time.sleep(0.02)
    server.close()
    server.close()
    assert future.result(5).end == "died"
    assert wait_until_gone(f"{MARKER}7") == []
    assert wait_until_gone(str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []
    assert server.submit(RunRequest(tmp_path / "a.py", b"")).result().end == "died"


@needs_tensorflow
@linux_only
def test_nothing_is_left_when_the_parent_is_killed(tmp_path: Path) -> None:
    parent = textwrap.dedent(
        f"""
        import sys, time
        from pathlib import Path
        from tapefix.proof.client import ForkServer, RunRequest
        server = ForkServer(sys.executable, temp=Path({str(tmp_path)!r}))
        server.submit(RunRequest(Path("a.py"), {STRAY.format(marker=MARKER + "8", wait=60)!r}.encode()))
        time.sleep(60)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", parent], cwd=tmp_path)
    while len(alive(f"{MARKER}8")) < 3:  # the parent's text has it, too
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert wait_until_gone(f"{MARKER}8") == []
    assert wait_until_gone(str(tmp_path)) == []
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("tapefix")] == []


@linux_only
def test_close_while_starting(tmp_path: Path) -> None:
    server = ForkServer(sys.executable, temp=tmp_path)
    server.close()
    assert alive(str(tmp_path)) == []
    with pytest.raises(ProofUnavailable):
        server.wait_ready(1)


def test_interpreter_without_tensorflow(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.base_prefix}/bin/python3" -I -S "$@"\n')
    python.chmod(0o755)
    with ForkServer(str(python)) as server:
        waiting = server.submit(RunRequest(tmp_path / "a.py", b""))
        with pytest.raises(ProofUnavailable, match=r"TensorFlow is missing in .*--python"):
            server.wait_ready()
        result = waiting.result(5)
    assert result.end == "died"
    assert result.failure is not None
    assert "TensorFlow is missing" in result.failure.message


def test_find_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    script = tmp_path / "deep" / "train.py"
    script.parent.mkdir()
    script.touch()
    assert find_interpreter(None, script) == sys.executable
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch(0o755)
    assert find_interpreter(None, script) == str(python)
    assert find_interpreter(sys.executable, script) == sys.executable
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / ".venv"))
    assert find_interpreter(None, Path("/")) == str(python)
    with pytest.raises(TapefixError, match="no such interpreter"):
        find_interpreter(str(tmp_path / "none"), script)
