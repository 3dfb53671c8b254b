"""What every section of the configuration is made of: typed values, and rules about keys.

Built by hand (`Ping(interval=1.5)`) the models take typed values as they are. `Section.from_file` sets the
validation context `FROM_FILE`, in which what a file holds (`"1.5s"`) is decoded first. Durations are seconds
and sizes are bytes, unless a field says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from rr_py_ws.config import addresses, quantities, values
from rr_py_ws.config.suggestion import did_you_mean
from rr_py_ws.config.yaml_file import remove, without_item
from rr_py_ws.errors import ConfigError, all_of

FROM_FILE = "from file"
_MANY = 100


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
Interval = Annotated[float, decoded(quantities.interval)]
Patience = Annotated[float, decoded(quantities.patience)]
Size = Annotated[int, decoded(quantities.size)]
TextList = Annotated[tuple[str, ...], decoded(values.text_list)]
Environment = Annotated[dict[str, str], decoded(values.environment)]
Address = Annotated[str, decoded(addresses.address)]
DSN = Annotated[str, decoded(addresses.dsn)]
Networks = Annotated[tuple[str, ...], decoded(addresses.networks)]
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
            ConfigError: something is wrong. What else is wrong may show only when that is gone: rules about a
                whole section are applied to one that has no wrong values.
        """
        try:
            return cls.model_validate(found, context=FROM_FILE)
        except ValidationError as error:
            problems = error.errors()
        raise all_of(error for problem in problems for error in _described(key, problem))

    @classmethod
    def from_file_in_part(cls, key: str, found: Any, errors: list[ConfigError]) -> Self | None:
        """Decode what can be decoded of what a file has at a key.

        Args:
            key: dotted path of the section.
            found: what is there; what is wrong in it is removed.
            errors: gets everything that is wrong.

        Returns:
            The section without what is wrong; None when nothing is left.
        """
        while True:  # rules about the whole section apply when the values are right
            try:
                return cls.from_file(key, found)
            except ConfigError as error:
                errors += error.errors
                if not _remove_all(found, (one.key.removeprefix(f"{key}.") for one in error.errors)):
                    return None


def _remove_all(found: object, keys: Iterable[str]) -> bool:
    """Remove what is wrong in a section; of something that is missing, what it is missing in.

    Returns:
        Whether a section is left.
    """
    removed: set[str] = set()
    for key in map(without_item, keys):
        while key and key not in removed and not remove(found, key):
            key = key.rpartition(".")[0]
        if not key:
            return False
        removed.add(key)
    return True


def _described(key: str, problem: ErrorDetails) -> Iterator[ConfigError]:
    """Make errors for people of one of pydantic's, about the section at a key."""
    context = problem.get("ctx", {})
    path = key + "".join([f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"]])
    match problem["type"]:
        # About keys, whatever their values; `context` names them.
        case "unknown_keys":
            yield from (ConfigError(f"{path}.{name}", text) for name, text in context["texts"].items())
            return
        case "conflict":
            yield ConfigError(f"{path}.{context['key']}", problem["msg"])
            return
        case "missing":
            yield ConfigError(path, "missing, but required here")
            return
        case "value_error":  # The decoder's own text, without pydantic's "Value error, ".
            wrong = context["error"]
            if isinstance(wrong, values.PartError):
                yield from (ConfigError(f"{path}{part}", text) for part, text in wrong.problems.items())
                return
            accepted = str(wrong)
        case _:
            accepted = problem["msg"]
    yield ConfigError(path, f"found {values.shown(problem['input'])}, {accepted}")


class RRSection(Section):
    """A section that RoadRunner reads too: unknown keys are ignored, and a zero value means the default.

    Attributes:
        zeros: keys that RoadRunner does not have, of which zero means zero.
    """

    zeros: ClassVar[frozenset[str]] = frozenset()

    @field_validator("*", mode="after")
    @classmethod
    def _zero_is_default(cls, value: Any, info: ValidationInfo) -> Any:
        # Go cannot tell a key that is 0 from a key that is absent, and neither do the files that people have.
        assert info.field_name is not None
        if value or info.field_name in cls.zeros:
            return value
        return cls.model_fields[info.field_name].get_default(call_default_factory=True)


class ExtensionSection(Section):
    """A section that RoadRunner does not have; an unknown key in it is a mistake."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, found: Any) -> Any:
        # What is not a map is refused by `_drop_nulls`, with a text that helps.
        unknown = [key for key in found if key not in cls.model_fields] if isinstance(found, dict) else []
        if not unknown:
            return found
        accepted = ", ".join(cls.model_fields)
        # Nobody has mistyped all of so many, and each costs a search.
        known = cls.model_fields if len(unknown) < _MANY else ()
        texts = {
            key: f"unknown key{did_you_mean(key, known) or f', accepted: {accepted}'}" for key in unknown
        }
        raise PydanticCustomError("unknown_keys", "unknown keys", {"texts": texts})
