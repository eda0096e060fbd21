"""An event's contract: its type, its version, and the JSON Schema of its data."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar

Data = TypeVar("Data", bound=Mapping[str, Any])


class ContractError(ValueError):
    """Why a message is not an event that this consumer understands. A retry cannot succeed.

    `code` becomes the header `x-warren-reason`: `not_json`, `not_cloudevent`, `invalid_attribute`,
    `unknown_type`, `unknown_version`, `invalid_data` or `expired`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class EventType(Generic[Data]):
    """One version of an event. `schema` is that of its data, as docs/reference/asyncapi.json has it.

    Raises `TypeError` for a schema with a keyword that `check` does not know.
    """

    type: str
    version: int
    schema: Mapping[str, Any]

    def __post_init__(self) -> None:
        require_known(self.schema)

    @property
    def routing_key(self) -> str:
        return f"{self.type}.v{self.version}"

    @property
    def dataschema(self) -> str:
        return f"urn:warren:{self.type}:v{self.version}"

    @property
    def producer(self) -> str:
        """The only service that publishes it: the first word of its type."""
        return self.type.split(".", 1)[0]

    def read(self, data: Any) -> Data:
        """The fields of the contract; other fields are dropped. Raises `ContractError`."""
        check(self.schema, data, "data")
        known: Any = {name: data[name] for name in self.schema["properties"] if name in data}
        return known  # type: ignore[no-any-return]


UUID = re.compile(r"[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}", re.IGNORECASE | re.ASCII)


def _is_instant(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


FORMATS: Mapping[str, Callable[[str], bool]] = {
    "uuid": lambda text: UUID.fullmatch(text) is not None,
    "email": lambda text: re.fullmatch(r"[^\s@]+@[^\s@]+", text) is not None,
    "date-time": _is_instant,
}

TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "string": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, int | Decimal) and not isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
}

# Numbers are Decimals: as floats, 19.99 is not a multiple of 0.01.
RULES: Mapping[str, Callable[[Any, Any], bool]] = {
    "type": lambda value, name: TYPES[name](value),
    "enum": lambda value, allowed: value in allowed,
    "format": lambda value, name: FORMATS[name](value),
    "minLength": lambda value, limit: len(value) >= limit,
    "maxLength": lambda value, limit: len(value) <= limit,
    "minimum": lambda value, limit: value >= Decimal(str(limit)),
    "maximum": lambda value, limit: value <= Decimal(str(limit)),
    "multipleOf": lambda value, unit: Decimal(value) % Decimal(str(unit)) == 0,
}
_STRUCTURE = {"properties", "required"}
_NOTES = {"description", "x-personal"}


def require_known(schema: Mapping[str, Any]) -> None:
    """Raises `TypeError` for a keyword that would be ignored."""
    unknown = schema.keys() - RULES.keys() - _STRUCTURE - _NOTES
    if unknown:
        raise TypeError(f"the schema has {sorted(unknown)}, which contract.py does not check")
    for child in schema.get("properties", {}).values():
        require_known(child)


def check(schema: Mapping[str, Any], value: Any, path: str) -> None:
    """Checks a JSON value. The order of the rules matters: the type comes first."""
    for rule, holds in RULES.items():
        if rule in schema and not holds(value, schema[rule]):
            raise ContractError("invalid_data", f"{path}: does not fit {rule}: {schema[rule]}")
    for name in schema.get("required", ()):
        if name not in value:
            raise ContractError("invalid_data", f"{path}.{name}: is required")
    for name, child in schema.get("properties", {}).items():
        if name in value:
            check(child, value[name], f"{path}.{name}")
