"""How long tests wait for what should come at once."""

DEADLINE = 40.0
"""Seconds after which a test that waits for something has failed. It costs nothing until then, and a loaded
machine may let anybody wait for many seconds."""
