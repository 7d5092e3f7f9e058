"""The content of made-up files, by the names under which tutorials and Keras download them.

Standard library and TensorFlow only: this runs in the user's interpreter.
"""

from __future__ import annotations

import io
import json
import re
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

WORDS = ["the", "sea", "is", "calm", "tonight", "a", "ship", "goes", "far", "we", "see", "you", "and", "they", "sing"]


def make(url: str, target: Path) -> str | None:
    """Write what stands in for the file at `url` to `target` and say what it is; None where nothing fits."""
    name = url.rstrip("/").rsplit("/", 1)[-1].lower().split("?")[0]
    for pattern, what, content in _FILES:
        if re.search(pattern, name):
            target.write_bytes(content(name))
            return what
    archive = _archive(name)
    if archive is not None and re.search(r"\.(zip|tgz|tar|tar\.gz)$", name):
        target.write_bytes(_packed(name, archive))
        return "files"
    return None


# ------------------------------------------------------------ arrays


def _mnist(_: str) -> bytes:
    from .images import SETS, data

    (x, y), (x_test, y_test) = data(SETS["mnist"])
    return _arrays(x_train=x, y_train=y, x_test=x_test, y_test=y_test)


def _reviews(_: str) -> bytes:
    """Sequences of word numbers; every other word is used in one class only."""
    x, y = _sequences(25000, 2, 88584)
    x_test, y_test = _sequences(25000, 2, 88584)
    return _arrays(x_train=x, y_train=y, x_test=x_test, y_test=y_test)


def _newswires(_: str) -> bytes:
    x, y = _sequences(11228, 46, 30979)
    return _arrays(x=x, y=y)


def _sequences(count: int, classes: int, words: int) -> tuple[Any, Any]:
    import numpy as np

    random = np.random.RandomState(0)
    labels = np.arange(500) % classes
    texts = []
    for label in labels:
        ranks = np.minimum(random.zipf(1.3, random.randint(20, 400)), words // classes - 1)
        texts.append([int(rank) * classes + int(label) % classes or 1 for rank in ranks])
    x = np.empty(count, dtype=object)
    x[:] = [texts[number % 500] for number in range(count)]
    return x, np.tile(labels, -(-count // 500))[:count]


def _houses(name: str) -> bytes:
    import numpy as np

    rows, columns = (506, 13) if "boston" in name else (20640, 8)
    x = np.random.RandomState(0).rand(rows, columns) * np.arange(1, columns + 1)
    return _arrays(x=x, y=10 + 3 * x.mean(axis=1))


def _arrays(**named: Any) -> bytes:
    import numpy as np

    file = io.BytesIO()
    np.savez(file, **named)
    return file.getvalue()


# ------------------------------------------------------------ text


def sentences(count: int, seed: int = 0) -> list[str]:
    """Short sentences of few words."""
    from random import Random

    random = Random(seed)
    found = []
    for _ in range(count):
        words = random.choices(WORDS, k=random.randint(3, 8))
        found.append(" ".join(words).capitalize() + ".")
    return found


def _play(_: str) -> bytes:
    lines = sentences(6000)
    speakers = ["First Citizen", "Second Citizen", "All"]
    return "\n\n".join(f"{speakers[n % 3]}:\n{line}" for n, line in enumerate(lines)).encode()


def _word_index(name: str) -> bytes:
    return json.dumps({f"word{n}": n for n in range(1, 88584 if "imdb" in name else 30979)}).encode()


def _class_index(_: str) -> bytes:
    return json.dumps({str(n): [f"n{n:08}", f"class{n}"] for n in range(1000)}).encode()


def _pairs(language: str) -> bytes:
    pairs = zip(sentences(3000), sentences(3000, 1))  # noqa: B905  (3.9)
    ending = "" if language == "spa" else "\tCC-BY 2.0"
    return "".join(f"{one}\t{other}{ending}\n" for one, other in pairs).encode()


# ------------------------------------------------------------ pictures and archives


def picture(height: int, width: int, seed: int = 0) -> bytes:
    """A picture of coloured stripes, as PNG, which readers of JPEG know by its first bytes."""
    colours = (((x * 7 + seed * 50) % 256, (x * 3) % 256, (seed * 90) % 256) for x in range(width))
    row = b"\0" + bytes(value for colour in colours for value in colour)
    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(row * height)), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _archive(name: str) -> dict[str, bytes] | None:
    """The files of a well-known archive."""
    stem = re.sub(r"\.(zip|tgz|tar|tar\.gz)$", "", name)
    if re.fullmatch(r"[a-z]{2,3}-eng", stem):
        return {f"{stem}/{stem[:3]}.txt": _pairs(stem[:3]), f"{stem}/_about.txt": b"made up\n"}
    if stem == "flower_photos":
        kinds = ("daisy", "dandelion", "roses", "sunflowers", "tulips")
        return _photos([f"{stem}/{kind}" for kind in kinds], 40)
    if stem == "cats_and_dogs_filtered":
        parts = [f"{stem}/{part}/{kind}" for part in ("train", "validation") for kind in ("cats", "dogs")]
        return _photos(parts, 60)
    if stem in ("facades", "maps", "cityscapes", "edges2shoes", "night2day"):
        pictures = [picture(256, 512, n) for n in range(8)]
        return {f"{stem}/{part}/{n}.jpg": p for part in ("train", "test", "val") for n, p in enumerate(pictures, 1)}
    if stem.startswith("aclimdb"):
        texts = sentences(100)
        parts = [f"aclImdb/{part}/{kind}" for part in ("train", "test") for kind in ("pos", "neg", "unsup")]
        return {f"{part}/{n}_7.txt": text.encode() for part in parts for n, text in enumerate(texts)}
    return None


def _photos(folders: list[str], count: int) -> dict[str, bytes]:
    pictures = [picture(96, 128, number) for number in range(len(folders))]
    return {f"{folder}/{n}.jpg": p for folder, p in zip(folders, pictures) for n in range(count)}  # noqa: B905  (3.9)


def _packed(name: str, files: dict[str, bytes]) -> bytes:
    result = io.BytesIO()
    if name.endswith(".zip"):
        with zipfile.ZipFile(result, "w") as zipped:
            for path, content in files.items():
                zipped.writestr(path, content)
    else:
        with tarfile.open(fileobj=result, mode="w:gz", compresslevel=1) as tar:
            for path, content in files.items():
                info = tarfile.TarInfo(path)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return result.getvalue()


_FILES: list[tuple[str, str, Any]] = [
    (r"^mnist\.npz$", "images (28, 28) uint8", _mnist),
    (r"^imdb\.npz$", "sequences of word numbers", _reviews),
    (r"^reuters\.npz$", "sequences of word numbers", _newswires),
    (r"housing\.npz$", "numbers", _houses),
    (r"word_index\.json$", "words", _word_index),
    (r"imagenet_class_index\.json$", "class names", _class_index),
    (r"\.(h5|hdf5|weights\.h5|keras)$", "weights", lambda _: b""),
    (r"\.(jpg|jpeg|png)$", "pictures", lambda _: picture(384, 512)),
    (r"\.txt$", "text", _play),
]
