"""The cheap test that keeps files without TensorFlow away from everything that costs time."""


def is_tensorflow_source(data: bytes) -> bool:
    """Whether the bytes of a file name TensorFlow or Keras at all."""
    return b"tensorflow" in data or b"keras" in data
