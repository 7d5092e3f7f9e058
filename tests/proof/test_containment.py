"""Hostile and careless scripts: each ends within its limits with one clear line, and leaves nothing behind."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tapefix.proof.client import ForkServer, RunRequest
from tapefix.proof.run import Run
from tapefix.proof.verdict import failed, unmeasurable

from .helpers import HEADER, states

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(sys.platform != "linux", reason="the walls are the Linux kernel's"),
]

HARMLESS = """
w = tf.Variable(1.0, name="w")
with tf.GradientTape() as tape:
    loss = w * w
tape.gradient(loss, w)
"""
MEGABYTE = 1 << 20
# A script that trains in spite of what it did before.
PROVED = ""


class Case(NamedTuple):
    """A script, its limits, and what is said of it: nothing where it is measured all the same."""

    code: str
    said: str = PROVED
    limits: tuple[tuple[str, int], ...] = ()
    timeout: float = 20


CASES = {
    "deletes the project": Case(
        "import shutil, glob\n"
        "os.remove(f'{PROJECT}/data/x.csv'); shutil.rmtree(PROJECT, ignore_errors=True)\n"
        "assert not os.path.exists(f'{PROJECT}/notes.txt')"
    ),
    "overwrites the project and home": Case(
        "for top in (PROJECT, HOME):\n"
        "    for folder, _, files in os.walk(top):\n"
        "        for name in files:\n"
        "            path = os.path.join(folder, name)\n"
        "            open(path, 'w').write('ours'); os.chmod(path, 0o777); os.rename(path, path + '.locked')"
    ),
    "writes elsewhere": Case("open(f'{ELSEWHERE}/new', 'w')", r"it stops at line \d+ with PermissionError"),
    "writes through TensorFlow": Case(
        "tf.io.write_file(f'{PROJECT}/notes.txt', 'ours')\n"
        "tf.io.gfile.rmtree(f'{HOME}/.config')\n"
        "tf.io.gfile.copy(__file__, f'{HOME}/.bashrc', overwrite=True)\n"
        "tf.train.Checkpoint(v=tf.Variable(1.0)).save(f'{PROJECT}/checkpoints/one')\n"
        "tf.summary.create_file_writer(f'{HOME}/logs').flush()"
    ),
    "writes through h5py": Case("import h5py\nh5py.File(f'{PROJECT}/notes.txt', 'w')['x'] = [1.0]"),
    "writes a SavedModel": Case(
        "module = tf.Module(); module.v = tf.Variable(1.0)\ntf.saved_model.save(module, f'{HOME}/model')"
    ),
    "opens sockets": Case(
        "import socket\n"
        "for kind, address in ((1, ('127.0.0.1', PORT)), (2, ('192.0.2.1', 53))):\n"
        "    try:\n"
        "        socket.socket(socket.AF_INET, kind).connect(address)\n"
        "        raise SystemExit('connected')\n"
        "    except OSError as error:\n"
        "        print(error)"
    ),
    "downloads": Case(
        "import urllib.request\nurllib.request.urlopen('http://192.0.2.1/data.csv')",
        r"it stops at line \d+ with URLError",
    ),
    "forks endlessly": Case("while True:\n    os.fork()", "SIGKILL|more than 60 processes", (("processes", 60),)),
    "starts programs endlessly": Case(
        "import subprocess\nwhile True:\n    subprocess.Popen(['sleep', '60'], start_new_session=True)",
        "it starts more than 60 processes",
        (("processes", 60),),
    ),
    "daemonises": Case(
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork():\n"
        "        os._exit(0)\n"
        "    os.chdir('/'); os.closerange(0, 100)\n"
        "    os.execvp('sleep', ['sleep', '60'])"
    ),
    "sleeps for ever": Case("import time\ntime.sleep(1e6)", "it computed no gradient within 1 s", timeout=0.5),
    "ignores signals and exceptions": Case(
        "import signal\n"
        "for number in set(signal.valid_signals()) - {9, 19}:\n"
        "    try:\n"
        "        signal.signal(number, signal.SIG_IGN)\n"
        "    except OSError:\n"
        "        pass\n"
        "while True:\n"
        "    try:\n"
        "        while True: pass\n"
        "    except BaseException: pass",
        "it computed no gradient within 1 s",
        timeout=0.5,
    ),
    "eats memory": Case("kept = []\nwhile True:\n    kept.append(np.empty(1 << 27))", "MemoryError"),
    "eats memory with many processes": Case(
        "for _ in range(20):\n"
        "    if os.fork() == 0:\n"
        "        kept = np.ones(1 << 23)\n"
        "        import time\n"
        "        time.sleep(60)\n"
        "import time\ntime.sleep(60)",
        "it takes more than 0.5 GB of memory",
        (("memory", 512 * MEGABYTE),),
    ),
    "prints gigabytes": Case("block = b'x' * (1 << 20)\nfor _ in range(300):\n    os.write(1, block)"),
    "fills the temporary folder": Case(
        "import tempfile\nwhile True:\n    os.write(tempfile.mkstemp()[0], b'x' * (1 << 20))",
        "it writes more than 0.1 GB of files",
        (("disk", 64 * MEGABYTE),),
    ),
    "fills the project": Case(
        "for number in range(10 ** 6):\n    open(f'{PROJECT}/{number}', 'wb').write(b'x' * (1 << 20))",
        "it writes more than 0.1 GB of files",
        (("disk", 64 * MEGABYTE),),
    ),
    "fills one file": Case(
        "with open('big', 'wb') as file:\n    while True:\n        file.write(b'x' * (1 << 20))",
        "OSError|it writes more than",
        (("disk", 64 * MEGABYTE),),
    ),
    "kills its parent": Case(
        "import signal\n"
        "for pid in (os.getppid(), SERVER, -SERVER):\n"
        "    try:\n"
        "        os.kill(pid, signal.SIGKILL)\n"
        "    except OSError:\n"
        "        pass"
    ),
    "kills all": Case(
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "try:\n"
        "    os.kill(-1, signal.SIGTERM)\n"
        "except ProcessLookupError:\n"
        "    os.kill(os.getpid(), signal.SIGKILL)",
        "SIGKILL",
    ),
    "raises its limits": Case(
        "import resource\n"
        "for kind in (resource.RLIMIT_DATA, resource.RLIMIT_FSIZE):\n"
        "    try:\n"
        "        resource.setrlimit(kind, (-1, -1))\n"
        "        raise SystemExit('raised')\n"
        "    except (ValueError, OSError):\n"
        "        pass"
    ),
    "undoes its walls": Case(
        "import ctypes\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "assert libc.umount2(PROJECT.encode(), 2) != 0\n"
        "assert libc.mount(b'none', b'/', None, 32 | 4096, None) != 0\n"
        "libc.unshare(0x10020000)\n"
        "assert libc.umount2(PROJECT.encode(), 2) != 0\n"
        "try:\n"
        "    open(f'/proc/{SERVER}/root{PROJECT}/notes.txt', 'w').write('ours')\n"
        "except OSError:\n"
        "    pass"
    ),
    "lowers its limits": Case(
        "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nwhile True: pass", "SIGXCPU|SIGKILL"
    ),
    "closes all files": Case("os.closerange(3, 5000)", "it closes the pipe that its results come through"),
    "ends without a word": Case("import ctypes\nctypes.CDLL(None)._exit(0)", "exit status 0"),
    "calls os._exit": Case("os._exit(0)", "it computes no gradient"),
    "aborts": Case("os.abort()", "SIGABRT"),
    "crashes": Case("import ctypes\nctypes.string_at(0)", "SIGSEGV"),
    "stops itself": Case("import signal\nos.kill(os.getpid(), signal.SIGSTOP)", "it computed no gradient", timeout=0.5),
    "replaces GradientTape": Case(
        "class Tape:\n"
        "    def __enter__(self): return self\n"
        "    def __exit__(self, *error): pass\n"
        "    def gradient(self, target, sources): return tf.ones_like(sources)\n"
        "tf.GradientTape = Tape",
        "it computes no gradient when it is run",
    ),
    "locks its folders": Case(
        "import tempfile\n"
        "for top in (PROJECT, tempfile.gettempdir()):\n"
        "    os.makedirs(f'{top}/deep/deeper/deepest')\n"
        "    os.chmod(f'{top}/deep/deeper', 0)"
    ),
}


class Place(NamedTuple):
    """A user's machine: a server that takes `home` for the user's, and a project in it."""

    server: ForkServer
    home: Path
    project: Path
    elsewhere: Path
    temporary: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    top = tmp_path_factory.mktemp("machine")
    home, elsewhere, temporary = top / "home", top / "elsewhere", top / "tmp"
    project = top / "work" / "project"
    for folder in (home / ".config", project / "data", elsewhere, temporary):
        folder.mkdir(parents=True)
    (home / ".bashrc").write_text("alias ll='ls -l'\n")
    (home / ".config" / "settings").write_bytes(bytes(range(256)))
    (project / "train.py").write_text("import tensorflow as tf\n")
    (project / "notes.txt").write_text("theirs")
    (project / "pyproject.toml").write_text("")
    (project / "data" / "x.csv").write_text("1,2\n")
    (project / "data" / "link").symlink_to(home / ".bashrc")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        server = ForkServer(sys.executable, temp=temporary)
    with server:
        server.wait_ready()
        yield Place(server, home, project, elsewhere, temporary)


def snapshot(place: Place) -> dict[str, Any]:
    """Each file and folder with its mode and content."""
    found: dict[str, Any] = {}
    for top in (place.home, place.project, place.elsewhere):
        for path in sorted(top.rglob("*")):
            status = path.lstat()
            content = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
            found[str(path)] = (status.st_mode, status.st_mtime_ns, content)
    return found


def processes(place: Place) -> list[str]:
    """The processes that come from the server: they have its environment."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and f"HOME={place.home}\0".encode() in (folder / "environ").read_bytes():
                found.append(folder.name)
        except OSError:
            continue
    return found


def left(place: Place, seconds: float = 5) -> list[str]:
    """What is left of runs in the end: processes other than the server, and folders."""
    deadline = time.monotonic() + seconds
    while True:
        own = str(place.server._process.pid)
        found = [number for number in processes(place) if number != own]
        found += [path.name for path in place.temporary.glob("*/run-*")]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.02)


def run(place: Place, code: str, **options: Any) -> Run:
    values = {
        "PROJECT": str(place.project),
        "HOME": str(place.home),
        "ELSEWHERE": str(place.elsewhere),
        "SERVER": place.server._process.pid,
        "PORT": 9,
    }
    header = HEADER + "import os\n" + "".join(f"{name} = {value!r}\n" for name, value in values.items())
    options.setdefault("cwd", place.project)
    return place.server.run(RunRequest(place.project / "train.py", (header + code).encode(), **options))


def said(run: Run) -> str:
    """The one line that a report gives for a run that is of no use."""
    return unmeasurable(run) or str(failed(run) or "")


@pytest.mark.parametrize("name", CASES)
def test_hostile_script(place: Place, name: str) -> None:
    case = CASES[name]
    before = snapshot(place)
    started = time.monotonic()
    result = run(place, case.code + HARMLESS, timeout=case.timeout, limits=case.limits)
    if {"files", "processes"} & set(result.missing_protection):
        pytest.skip("this machine cannot keep a run apart")
    assert time.monotonic() - started < case.timeout + 5
    line = said(result)
    if case.said == PROVED:
        assert line == "", result
        assert states(result) == {"w": "ok"}
    else:
        assert re.search(case.said, line), result
        assert "\n" not in line
    assert snapshot(place) == before
    assert left(place) == []
    assert states(run(place, HARMLESS)) == {"w": "ok"}, "the next proof works"
