"""`python -m rr_py_ws` is `rr-py-ws`."""

from __future__ import annotations

from rr_py_ws.cli import main

main()
