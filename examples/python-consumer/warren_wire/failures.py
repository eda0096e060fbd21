"""What is published for a message that was not handled. The body stays the same, byte for byte."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractIncomingMessage

from .topology import RetryDelay

ATTEMPTS = "x-warren-attempts"
REASON = "x-warren-reason"
ERROR = "x-warren-error"
FIRST_FAILED_AT = "x-warren-first-failed-at"
LAST_FAILED_AT = "x-warren-last-failed-at"
FAILURES = "x-warren-failures"
QUEUE = "x-warren-queue"
DELIVERIES = "x-warren-delivery-count"
EXCHANGE = "x-warren-exchange"
ROUTING_KEY = "x-warren-routing-key"

FAILURES_KEPT = 10

_ADDED_BY_BROKER = {"x-death", "x-delivery-count", "x-acquired-count", "CC", "BCC"}
"""A key in CC or BCC would be published to once more."""


@dataclass(frozen=True)
class Failure:
    reason: str
    """e.g. `handler_failed`"""
    error: str


@dataclass(frozen=True)
class Replica:
    """Stored with each failed attempt."""

    instance: str
    version: str


def attempts_of(message: AbstractIncomingMessage) -> int:
    """How often a message has failed."""
    return _count(message.headers.get(ATTEMPTS))


def deliveries_of(message: AbstractIncomingMessage) -> int:
    """How often it was delivered and not acknowledged: by the broker's count, and before a return."""
    return _count(message.headers.get("x-delivery-count")) + _count(message.headers.get(DELIVERIES))


def published_at(message: AbstractIncomingMessage, arrival: datetime) -> datetime:
    """Its timestamp; or its arrival, which the first failure stores as its timestamp."""
    stamp = message.timestamp
    if stamp is None:
        return arrival
    known = stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)
    return known if known.timestamp() > 0 and known < arrival else arrival


def retry(
    message: AbstractIncomingMessage,
    queue: str,
    delay: RetryDelay,
    failure: Failure,
    replica: Replica,
    user: str,
) -> Message:
    """Up to a fifth longer or shorter, so that what failed together is not retried together."""
    copy = dead_letter(message, queue, failure, replica, user)
    copy.expiration = max(0.001, delay.seconds * random.uniform(0.8, 1.2))
    copy.headers["CC"] = [queue]
    return copy


def dead_letter(
    message: AbstractIncomingMessage, queue: str, failure: Failure, replica: Replica, user: str
) -> Message:
    now = datetime.now(UTC)
    at = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    error = _without_passwords(failure.error)
    own = _own_headers(message)
    own.pop(DELIVERIES, None)
    earlier = own.get(FAILURES)
    attempt: dict[str, Any] = {
        "at": at,
        "reason": failure.reason,
        "error": error[:300],
        "instance": replica.instance,
        "version": replica.version,
    }
    headers = {
        **own,
        ATTEMPTS: attempts_of(message) + 1,
        REASON: failure.reason,
        ERROR: error[:1000],
        FAILURES: [*(earlier if isinstance(earlier, list) else []), attempt][-FAILURES_KEPT:],
        FIRST_FAILED_AT: own.get(FIRST_FAILED_AT, at),
        LAST_FAILED_AT: at,
        QUEUE: queue,
        **_origin(message),
    }
    copy = _copy(message, headers, user)
    copy.delivery_mode = DeliveryMode.PERSISTENT
    copy.expiration = None  # it would delete the message in the delay queue or the DLQ
    copy.timestamp = copy.timestamp or now
    return copy


def returned(message: AbstractIncomingMessage, user: str) -> Message:
    """To the end of its own queue: not a retry."""
    deliveries = deliveries_of(message)
    count = {DELIVERIES: deliveries} if deliveries > 0 else {}
    return _copy(message, {**_own_headers(message), **_origin(message), **count}, user)


def _copy(message: AbstractIncomingMessage, headers: dict[str, Any], user: str) -> Message:
    copy = Message(
        message.body,
        headers=headers,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        delivery_mode=message.delivery_mode,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        expiration=message.expiration,
        message_id=message.message_id,
        timestamp=message.timestamp,
        type=message.type,
        user_id=user,  # the broker refuses that of another
        app_id=message.app_id,
    )
    # aio-pika would add a priority of 0 to a message that has none.
    copy.priority = message.priority or None
    return copy


def _without_passwords(text: str) -> str:
    """Of URLs: a dead letter is read by people."""
    return re.sub(r"(\w://[^\s:/@]*):[^\s@]+@", r"\1:***@", text)


def _own_headers(message: AbstractIncomingMessage) -> dict[str, Any]:
    """The headers that it was published with."""
    return {name: value for name, value in message.headers.items() if name not in _ADDED_BY_BROKER}


def _origin(message: AbstractIncomingMessage) -> Mapping[str, Any]:
    return {
        EXCHANGE: message.headers.get(EXCHANGE, message.exchange or ""),
        ROUTING_KEY: message.headers.get(ROUTING_KEY, message.routing_key or ""),
    }


def _count(value: Any) -> int:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return value if is_count else 0
