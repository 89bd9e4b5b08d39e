"""mvit2: a MobileViTV2 checkpoint in, a verified folder for Android or iOS out.

Importing this package loads neither torch nor tensorflow nor onnx; each is imported where it is needed.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
