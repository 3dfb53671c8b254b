"""The optional native part: twins in C of a few hot functions.

A Python function that has a twin is marked with `twin`, and stays: it says what the function does, and runs
where the library could not be built and wherever `RR_PY_WS_PURE=1` is set. Otherwise its twin takes its place
when the module of the function is imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])

try:
    if os.environ.get("RR_PY_WS_PURE", "") not in ("", "0"):
        raise ImportError("RR_PY_WS_PURE is set")
    import rr_py_ws._speed as _speed
except ModuleNotFoundError:
    _speed = None  # type: ignore[assignment]
    MISSING: str | None = "it was installed without a C compiler"
except ImportError as error:
    _speed = None  # type: ignore[assignment]
    MISSING = str(error)
    """Why the native part is not used; None when it is."""
else:
    MISSING = None

VARIANT = "pure" if MISSING else "native"
"""Which functions run: `native` or `pure`."""

TWINS: dict[str, tuple[Callable[..., Any], Callable[..., Any] | None]] = {}
"""By name: the function in Python, and in C when that is used."""


def twin(function: _Function) -> _Function:
    """Return the twin of a function, or the function when the native part is not used.

    The names and their order are the same; the twin takes its arguments by position only.
    """
    native = None if MISSING else getattr(_speed, function.__name__)
    TWINS[function.__name__] = function, native
    return function if native is None else native
