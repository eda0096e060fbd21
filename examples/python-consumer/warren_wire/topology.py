"""The names and arguments of what a service has on the broker. All names begin with its own."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from aio_pika.abc import AbstractChannel
from pamqp.common import FieldValue

EVENTS = "events"
"""The exchange of the platform, which no service declares."""


@dataclass(frozen=True)
class RetryDelay:
    """A level of the retry ladder: its name is the routing key and ends the queue's name."""

    name: str
    seconds: float


_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: str) -> float:
    """Seconds of `500ms`, `10s`, `1m`, `2h`, `30d`. Raises `ValueError`."""
    found = re.fullmatch(r"(\d+)(ms|s|m|h|d)", text.strip())
    if found is None or int(found[1]) == 0:
        raise ValueError(f"'{text}' is not a duration such as 10s")
    return int(found[1]) * _UNITS[found[2]]


def parse_ladder(text: str) -> tuple[RetryDelay, ...]:
    """The ladder of e.g. `1s,10s,1m`. Raises `ValueError`."""
    names = [name.strip() for name in text.split(",")]
    if len(set(names)) < len(names):
        raise ValueError(f"'{text}' has a duration twice")
    return tuple(RetryDelay(name, parse_duration(name)) for name in names)


@dataclass(frozen=True)
class Topology:
    """What one queue of one service needs on the broker."""

    service: str
    event: str
    """e.g. `order.confirmed`"""
    routing_key: str
    ladder: Sequence[RetryDelay]
    delivery_limit: int = 10

    @property
    def queue(self) -> str:
        return f"{self.service}.{self.event}"

    @property
    def dead_letters(self) -> str:
        return f"{self.queue}.dlq"

    @property
    def retry_exchange(self) -> str:
        return f"{self.service}.retry"

    @property
    def return_exchange(self) -> str:
        return f"{self.service}.return"

    async def declare(self, channel: AbstractChannel) -> None:
        """Declares and binds. Raises if an argument differs from what exists (406)."""
        returns = await channel.declare_exchange(self.return_exchange, "direct", durable=True)
        retries = await channel.declare_exchange(self.retry_exchange, "direct", durable=True)
        dead_letters = await channel.declare_queue(
            self.dead_letters,
            durable=True,
            # Reading a dead letter counts as a delivery; RabbitMQ 4 would drop it after 20.
            arguments={"x-queue-type": "quorum", "x-delivery-limit": 1_000_000},
        )
        await dead_letters.bind(returns, self.dead_letters)
        to_return: dict[str, FieldValue] = {
            "x-queue-type": "quorum",
            "x-dead-letter-exchange": self.return_exchange,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",  # without it, at-least-once is silently at-most-once
        }
        for delay in self.ladder:
            # No dead-letter key: a message returns by the key in its CC header.
            waiting = await channel.declare_queue(
                f"{self.service}.retry.{delay.name}", durable=True, arguments=to_return
            )
            await waiting.bind(retries, delay.name)
        work = await channel.declare_queue(
            self.queue,
            durable=True,
            arguments={
                **to_return,
                "x-delivery-limit": self.delivery_limit,
                "x-dead-letter-routing-key": self.dead_letters,
            },
        )
        await work.bind(returns, self.queue)
        await work.bind(EVENTS, self.routing_key)

    async def check(self, channel: AbstractChannel) -> None:
        """Raises if an exchange or a queue was deleted; a binding is made again."""
        for delay in self.ladder:
            name = f"{self.service}.retry.{delay.name}"
            waiting = await channel.get_queue(name)
            await waiting.bind(self.retry_exchange, delay.name)
        dead_letters = await channel.get_queue(self.dead_letters)
        await dead_letters.bind(self.return_exchange, self.dead_letters)
        work = await channel.get_queue(self.queue)
        await work.bind(self.return_exchange, self.queue)
        await work.bind(EVENTS, self.routing_key)
