"""tapefix repairs TensorFlow and Keras code whose gradients do not flow, and proves the repair by measuring."""

__version__ = "0.1.0"
