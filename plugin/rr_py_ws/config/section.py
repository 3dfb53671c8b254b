"""What every section of the configuration is made of: typed values, and rules about keys.

Built by hand (`Ping(interval=1.5)`) the models take typed values as they are; with the validation context
`FROM_FILE` they first decode what a file holds (`"1.5s"`). Durations are seconds, sizes are bytes unless a
field says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from rr_py_ws.config import values

FROM_FILE = "from file"


def decoded(decode: Callable[[object], object]) -> BeforeValidator:
    """Decode what a file holds before it is validated; see `values`."""

    def validate(value: object, info: ValidationInfo) -> object:
        return decode(value) if info.context == FROM_FILE else value

    return BeforeValidator(validate)


Text = Annotated[str, decoded(values.text)]
Flag = Annotated[bool, decoded(values.boolean)]
Count = Annotated[int, decoded(values.count)]
PositiveCount = Annotated[int, decoded(values.positive_count)]
Duration = Annotated[float, decoded(values.duration)]
PositiveDuration = Annotated[float, decoded(values.positive_duration)]
Size = Annotated[int, decoded(values.size)]
TextList = Annotated[tuple[str, ...], decoded(values.text_list)]
Environment = Annotated[dict[str, str], decoded(values.environment)]
Address = Annotated[str, decoded(values.address)]
DSN = Annotated[str, decoded(values.dsn)]
Networks = Annotated[tuple[str, ...], decoded(values.networks)]
ErrorStatus = Annotated[int, decoded(values.error_status)]


class Section(BaseModel):
    """A map of keys. Frozen; a key without a value is an absent key."""

    model_config = ConfigDict(frozen=True, validate_by_name=True, validate_by_alias=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, found: Any, info: ValidationInfo) -> Any:
        """A key without a value is an absent key."""
        if info.context != FROM_FILE:
            return found
        if not isinstance(found, dict):
            raise ValueError("accepted: a map of keys; check the indentation")
        return {key: value for key, value in found.items() if value is not None}


class RRSection(Section):
    """A section that RoadRunner reads too: unknown keys are ignored, and a zero value means the default."""

    @field_validator("*", mode="after")
    @classmethod
    def _zero_is_default(cls, value: Any, info: ValidationInfo) -> Any:
        assert info.field_name is not None
        return value or cls.model_fields[info.field_name].get_default(call_default_factory=True)


class OwnSection(Section):
    """A section that only this program reads: an unknown key is a mistake."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, found: Any) -> Any:
        for key in found if isinstance(found, dict) else ():
            if key not in cls.model_fields:
                raise PydanticCustomError(
                    "unknown_key",
                    "unknown key, accepted: {accepted}",
                    {"key": key, "accepted": ", ".join(cls.model_fields)},
                )
        return found
