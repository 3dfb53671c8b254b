"""What every section of the configuration is made of: typed values, and rules about keys.

Built by hand (`Ping(interval=1.5)`) the models take typed values as they are. `Section.from_file` sets the
validation context `FROM_FILE`, in which what a file holds (`"1.5s"`) is decoded first. Durations are seconds
and sizes are bytes, unless a field says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from rr_py_ws.config import quantities, values
from rr_py_ws.errors import ConfigError

FROM_FILE = "from file"


def decoded(decode: Callable[[object], object]) -> BeforeValidator:
    """Have pydantic call a decoder of `values` or `quantities` for what comes from a file."""

    def validate(value: object, info: ValidationInfo) -> object:
        return decode(value) if info.context == FROM_FILE else value

    return BeforeValidator(validate)


Text = Annotated[str, decoded(values.text)]
Flag = Annotated[bool, decoded(values.boolean)]
Count = Annotated[int, decoded(quantities.count)]
PositiveCount = Annotated[int, decoded(quantities.positive_count)]
Duration = Annotated[float, decoded(quantities.duration)]
PositiveDuration = Annotated[float, decoded(quantities.positive_duration)]
Size = Annotated[int, decoded(quantities.size)]
TextList = Annotated[tuple[str, ...], decoded(values.text_list)]
Environment = Annotated[dict[str, str], decoded(values.environment)]
Address = Annotated[str, decoded(values.address)]
DSN = Annotated[str, decoded(values.dsn)]
Networks = Annotated[tuple[str, ...], decoded(values.networks)]
ErrorStatus = Annotated[int, decoded(quantities.error_status)]


class Section(BaseModel):
    """A map of keys, frozen."""

    model_config = ConfigDict(frozen=True, validate_by_name=True, validate_by_alias=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, found: Any, info: ValidationInfo) -> Any:
        """A key without a value is an absent key, as for RoadRunner: the default is used."""
        if info.context != FROM_FILE:
            return found
        if not isinstance(found, dict):
            raise ValueError("accepted: a map of keys; check the indentation")
        return {key: value for key, value in found.items() if value is not None}

    @classmethod
    def from_file(cls, key: str, found: object) -> Self:
        """Decode what a file has at a key.

        Raises:
            ConfigError: the first problem.
        """
        try:
            return cls.model_validate(found, context=FROM_FILE)
        except ValidationError as error:
            # One problem at a time: the first in the order of the model.
            problem = error.errors()[0]
        context = problem.get("ctx", {})
        path = ".".join([key, *map(str, problem["loc"])])
        match problem["type"]:
            case "unknown_key" | "conflict":  # About a key, whatever its value; `context` names the key.
                raise ConfigError(f"{path}.{context['key']}", problem["msg"])
            case "missing":
                raise ConfigError(path, "missing, but required here")
            case "value_error":  # The decoder's own text, without pydantic's "Value error, ".
                accepted = str(context["error"])
            case _:
                accepted = problem["msg"]
        raise ConfigError(path, f"found {values.shown(problem['input'])}, {accepted}")


class RRSection(Section):
    """A section that RoadRunner reads too: unknown keys are ignored, and a zero value means the default."""

    @field_validator("*", mode="after")
    @classmethod
    def _zero_is_default(cls, value: Any, info: ValidationInfo) -> Any:
        # Go cannot tell a key that is 0 from a key that is absent, and neither do the files that people have.
        assert info.field_name is not None
        return value or cls.model_fields[info.field_name].get_default(call_default_factory=True)


class ExtensionSection(Section):
    """A section that RoadRunner does not have; an unknown key in it is a mistake."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, found: Any) -> Any:
        # What is not a map is refused by `_drop_nulls`, with a text that helps.
        for key in found if isinstance(found, dict) else ():
            if key not in cls.model_fields:
                raise PydanticCustomError(
                    "unknown_key",
                    "unknown key, accepted: {accepted}",
                    {"key": key, "accepted": ", ".join(cls.model_fields)},
                )
        return found
