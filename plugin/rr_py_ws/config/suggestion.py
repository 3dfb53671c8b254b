"""What a misspelt name was surely meant to be."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_SIMILAR = 0.75
_BEGINNING = 4
"""Characters that say enough of a name that has more."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `, did you mean NAME?` for the known name that is most like this one; nothing without one."""
    if len(name) >= 100:  # which takes quadratic time, and nobody mistypes one
        return ""
    names = list(known)
    found = get_close_matches(name, names, 1, _SIMILAR)
    if not found and len(name) >= _BEGINNING:  # `grace` for `grace_period`, `certificate` for `cert`
        longer = [one for one in names if one.startswith(name)]
        shorter = [one for one in names if len(one) >= _BEGINNING and name.startswith(one)]
        found = longer if len(longer) == 1 else shorter if len(shorter) == 1 else []
    return f", did you mean {found[0]}?" if found else ""
