"""The envelope of an event: CloudEvents 1.0, structured JSON, in every form that it allows."""

import base64
import binascii
import codecs
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Generic
from uuid import uuid4

from .contract import ContractError, Data, EventType

CONTENT_TYPE = "application/cloudevents+json"
MAX_EVENT_BYTES = 1024 * 1024
"""Of the envelope."""


@dataclass(frozen=True)
class Event(Generic[Data]):
    """An event that fits its contract."""

    id: str
    source: str
    type: str
    time: datetime
    data: Data
    subject: str | None = None
    correlation_id: str = ""
    """Of the request that started everything; without one, the event's own id."""
    traceparent: str | None = None


def parse_event(body: bytes, expected: EventType[Data], published: datetime) -> Event[Data]:
    """Parses a message body. `published` is the time of an event that has none.

    Raises `ContractError`.
    """
    envelope = _attributes(body)
    if envelope["type"] != expected.type:
        raise ContractError("unknown_type", f"type: '{envelope['type']}' is not consumed here")
    if envelope.get("dataschema", expected.dataschema) != expected.dataschema:
        raise ContractError("unknown_version", f"dataschema: '{envelope['dataschema']}' is not consumed here")
    time = _instant(envelope["time"]) if "time" in envelope else published
    return Event(
        id=envelope["id"],
        source=envelope["source"],
        type=envelope["type"],
        time=time,
        data=expected.read(_data(envelope)),
        subject=envelope.get("subject"),
        correlation_id=envelope.get("correlationid") or envelope["id"],
        traceparent=_traceparent(envelope),
    )


def build_event(
    event_type: EventType[Data],
    data: Data,
    *,
    subject: str,
    correlation_id: str,
    causation_id: str | None = None,
    traceparent: str | None = None,
) -> tuple[str, str]:
    """A new event of the service that its type names: its id, and the envelope as JSON.

    Raises `ContractError` when the data does not fit its contract, `ValueError` when it is too large.
    """
    event_id = str(uuid4())
    optional = {"causationid": causation_id, "traceparent": traceparent}
    envelope = {
        "specversion": "1.0",
        "id": event_id,
        "source": f"/{event_type.producer}",
        "type": event_type.type,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "dataschema": event_type.dataschema,
        "subject": subject,
        "correlationid": correlation_id,
        **{name: value for name, value in optional.items() if value is not None},
        "data": event_type.read(data),
    }
    body = json.dumps(envelope, ensure_ascii=False, separators=(",", ":"), default=_to_json)
    size = len(body.encode())
    if size > MAX_EVENT_BYTES:
        raise ValueError(f"{event_type.type} has {size} bytes; an event has at most {MAX_EVENT_BYTES}")
    return event_id, body


def _to_json(value: object) -> object:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} cannot be sent in an event")


def _attributes(body: bytes) -> dict[str, Any]:
    json_value = _load(body, "not_json")
    if not isinstance(json_value, dict):
        raise ContractError("not_cloudevent", "the message: must be a JSON object")
    # A null is an absent attribute: section 2.2 of the JSON format.
    envelope = {name: value for name, value in json_value.items() if value is not None}
    if envelope.get("specversion") != "1.0":
        raise ContractError("not_cloudevent", "specversion: must be '1.0'")
    for name in ("id", "source", "type"):
        if name not in envelope:
            raise ContractError("not_cloudevent", f"{name}: is required")
    for name in ("id", "source", "type", "time", "datacontenttype", "dataschema", "subject"):
        _require_text(envelope, name, may_be_empty=False)
    for name in ("correlationid", "causationid", "traceparent"):
        _require_text(envelope, name, may_be_empty=True)
    # They become the AMQP property correlation-id, of 255 bytes at most.
    for name in ("id", "correlationid", "causationid"):
        if len(envelope.get(name, "").encode()) > 255:
            raise ContractError("invalid_attribute", f"{name}: has more than 255 bytes")
    return envelope


def _require_text(envelope: Mapping[str, Any], name: str, *, may_be_empty: bool) -> None:
    value = envelope.get(name, "-")
    if not isinstance(value, str) or (value == "" and not may_be_empty):
        raise ContractError("invalid_attribute", f"{name}: must be a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ContractError("invalid_attribute", f"{name}: has half a surrogate pair") from error


def _traceparent(envelope: Mapping[str, Any]) -> str | None:
    value: str = envelope.get("traceparent", "")
    return value if 0 < len(value) < 256 else None


_TIMESTAMP = re.compile(
    r"\d{4}-\d\d-\d\dT([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)


def _instant(text: str) -> datetime:
    """A timestamp of RFC 3339; a leap second counts as the second before it."""
    upper = text.upper()
    try:
        if _TIMESTAMP.fullmatch(upper) is None:
            raise ValueError(text)
        return datetime.fromisoformat(re.sub(r":60(?=[.Z+-])", ":59", upper))
    except ValueError as error:
        raise ContractError("invalid_attribute", "time: must be a timestamp of RFC 3339") from error


_JSON_TYPE = re.compile(r"[^\s/;]+/([^\s/;]+\+)?json[ \t]*(;.*)?", re.IGNORECASE)
_MEDIA_TYPE = re.compile(r"[^\s/;]+/[^\s/;]+[ \t]*(;.*)?")


def _data(envelope: Mapping[str, Any]) -> Any:
    """The data, which may be JSON in Base64: section 3.1 of the JSON format."""
    media_type = envelope.get("datacontenttype", "application/json")
    if _MEDIA_TYPE.fullmatch(media_type) is None:
        raise ContractError("invalid_attribute", "datacontenttype: must be a media type")
    if _JSON_TYPE.fullmatch(media_type) is None:
        raise ContractError("invalid_data", f"datacontenttype: '{media_type}' is not JSON")
    if "data_base64" not in envelope:
        return envelope.get("data")
    if "data" in envelope:
        raise ContractError("not_cloudevent", "the message: has both data and data_base64")
    try:
        decoded = base64.b64decode(envelope["data_base64"], validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise ContractError("invalid_data", "data_base64: is not Base64") from error
    return _load(decoded, "invalid_data")


def _load(body: bytes, code: str) -> Any:
    """Numbers with a fraction become Decimals. `json.loads` alone would guess UTF-16 and take NaN."""
    try:
        text = body.removeprefix(codecs.BOM_UTF8).decode("utf-8")
        return json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise ContractError(code, f"{len(body)} bytes are not JSON: {str(error)[:200]}") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
