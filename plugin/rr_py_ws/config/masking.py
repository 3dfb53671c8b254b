"""The configuration without its secrets, for the RPC method `rpc.Config`."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from rr_py_ws.config.models import Config

_MASK = "***"
_SECRET_KEY = re.compile(
    r"pass(word|wd|phrase|_?code)|pwd$|secret|token|credential"
    r"|(api|app|access|account|auth|encryption|license|private|secret|signing)[_-]?key$"
)
_SECRET_VARIABLE = re.compile(rf"{_SECRET_KEY.pattern}|key$|pass$|^auth$|_auth$|dsn$")
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_USERINFO = re.compile(r"(://|^(?=[^\s:/@]+:(?!//)))\S*@")  # up to the last @: a password may hold anything
_QUERY = re.compile(rf"([?&;][^=&;\s]*(?:{_SECRET_KEY.pattern.replace('$', '')})[^=&;\s]*=)[^&;\s]*", re.I)


def masked_json(config: Config) -> bytes:
    """Return the whole tree as JSON, with `***` for what looks like a secret.

    Secrets are: values of keys like `password`, `secret`, `token`, `api_key`; in a map called `env` also
    values of names that end in `key`, `pass`, `auth` or `dsn`; private keys; user and password in URLs and
    DSNs.
    """
    return json.dumps(_masked(config.tree, False), separators=(",", ":")).encode()


def _masked(value: Any, in_env: bool) -> Any:
    if isinstance(value, dict):
        return {key: _masked_entry(key, entry, in_env) for key, entry in value.items()}
    if isinstance(value, list):
        return [_masked(item, in_env) for item in value]
    if isinstance(value, str):
        # Masked as a whole: what stands around a key helps nobody.
        if _PRIVATE_KEY.search(value):
            return _MASK
        return _QUERY.sub(rf"\1{_MASK}", _USERINFO.sub(rf"\1{_MASK}@", value))
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no such number
    return value


def _masked_entry(key: str, value: Any, in_env: bool) -> Any:
    name = key.lower()
    # `env` is what applications define, so that more names are suspicious there. Empty values stay visible.
    if value and (_SECRET_VARIABLE if in_env else _SECRET_KEY).search(name):
        return _MASK
    return _masked(value, in_env or name == "env")
