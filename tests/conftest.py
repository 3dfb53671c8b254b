"""For all tests: Hypothesis without deadlines, because the machines that run them are shared."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")
