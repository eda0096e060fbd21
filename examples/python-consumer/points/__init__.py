"""An example of Warren: loyalty points, in Python."""

__version__ = "0.1.0"
