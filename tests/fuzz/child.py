"""Fuzzes one target here; libFuzzer ends the process: `python -m fuzz.child MODULE TARGET [its flags]`."""

from __future__ import annotations

import sys
from importlib import import_module

import atheris

with atheris.instrument_imports(include=["rr_py_ws"]):
    targets = import_module(sys.argv.pop(1)).TARGETS

atheris.Setup(sys.argv, targets[sys.argv.pop(1)])
atheris.Fuzz()
