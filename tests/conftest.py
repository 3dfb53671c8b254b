"""For all tests: how Hypothesis works, and where their files are.

The machines that run them are shared, so that how long an example takes says nothing. And a run of the suite
is the same each time: what chance may find is looked for with `--hypothesis-profile=random`, and `make fuzz`.
"""

from __future__ import annotations

import os
import tempfile

from hypothesis import HealthCheck, settings

settings.register_profile("random", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", settings.get_profile("random"), derandomize=True)
settings.load_profile("same")

if len(tempfile.gettempdir()) > 30:  # the path of a socket has at most 107 bytes, with the name of its test
    os.environ["PYTEST_DEBUG_TEMPROOT"] = "/tmp"
