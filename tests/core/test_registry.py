"""The ids of connections; what else the registry does is tested where it is used."""

from __future__ import annotations

import re
import subprocess
import sys

from rr_py_ws.core.registry import new_id

_FORK = """
import os
from rr_py_ws.core.registry import new_id
new_id()  # there are others in memory now
child = os.fork()
os.write(1, new_id().encode() + b"\\n")  # in one piece, whatever the other one writes
if child:
    os.waitpid(child, 0)
"""


def test_ids_are_all_different_and_safe_in_urls() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch("[A-Za-z0-9_-]{22}", id) for id in ids)


def test_a_forked_process_has_other_ids_than_its_parent() -> None:
    """Several processes serve the clients of one server, and each client is known by its id alone."""
    ran = subprocess.run([sys.executable, "-c", _FORK], capture_output=True, text=True, check=True)
    of_parent, of_child = ran.stdout.split()
    assert of_parent != of_child
