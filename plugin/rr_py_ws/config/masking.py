"""The configuration without its secrets, for the RPC method `rpc.Config`."""

from __future__ import annotations

import json
import math
from typing import Any

from rr_py_ws.config.models import Config
from rr_py_ws.masking import mask_values


def masked_json(config: Config) -> bytes:
    """Return the whole tree as JSON, with `***` for secrets, which `rr_py_ws.masking` finds."""
    return json.dumps(_finite(mask_values(config.tree)), separators=(",", ":")).encode()


def _finite(value: Any) -> Any:
    """Copy a value; numbers that JSON does not have are null."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
