"""RoadRunner's `websockets` and `broadcast` plugins as a Python process."""

__version__ = "0.1.0"
