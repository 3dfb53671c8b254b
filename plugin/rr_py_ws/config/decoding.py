"""From what a file holds to a model, or to one error that names the key."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rr_py_ws.config.section import FROM_FILE
from rr_py_ws.config.values import shown
from rr_py_ws.errors import ConfigError

_Section = TypeVar("_Section", bound=BaseModel)


def decode_section(model: type[_Section], key: str, found: object) -> _Section:
    """Decode the section at `key`.

    Raises:
        ConfigError: the first of its problems.
    """
    try:
        return model.model_validate(found, context=FROM_FILE)
    except ValidationError as error:
        raise _config_error(key, error.errors()[0]) from None


def _config_error(section: str, error: ErrorDetails) -> ConfigError:
    context = error.get("ctx", {})
    path = [section, *map(str, error["loc"])]
    if error["type"] in ("unknown_key", "conflict"):
        return ConfigError(".".join([*path, str(context["key"])]), error["msg"])
    if error["type"] == "missing":
        return ConfigError(".".join(path), "missing, but required here")
    accepted = str(context["error"]) if error["type"] == "value_error" else error["msg"]
    return ConfigError(".".join(path), f"found {shown(error['input'])}, {accepted}")
