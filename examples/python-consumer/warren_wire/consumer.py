"""Consumes one queue. What becomes of a message:

forged, invalid, too old    published to the dead-letter queue, then acknowledged
handled before              acknowledged
handled                     its effect and its id commit in one transaction; then acknowledged
its handler failed          published to the next delay queue, then acknowledged; after the last
                            one to the dead-letter queue
database unavailable        published back to its queue, then acknowledged: not a failed attempt
connection lost             the broker redelivers it
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from psycopg.pq import TransactionStatus

from . import failures
from .contract import ContractError, Data, EventType
from .database import Connection, Pool, is_available, is_lost_race, is_outage
from .envelope import Event, parse_event
from .failures import Failure, Replica
from .inbox import is_new
from .intake import Intake
from .outbox import Relay, emit
from .producers import Producers
from .publisher import NOT_PUBLISHED, Publisher, is_about_the_message
from .topology import Topology

log = logging.getLogger(__name__)

HANDLER_TIMEOUT = 30.0
RETRIES_IN_PLACE = 3
"""Of an event that alone finds the database unavailable, or loses a race."""
SUSPECT_DELIVERIES = 2
"""Earlier deliveries without an acknowledgement: from then on a message is handled alone."""


Publish = Callable[[str, str, aio_pika.Message], Awaitable[None]]


class HandlerTimeout(Exception):
    """The handler took longer than `HANDLER_TIMEOUT`."""


@dataclass(frozen=True)
class Work:
    """What a handler works with: one transaction, which also has the event's id."""

    connection: Connection
    event: Event[Any]

    async def emit(self, event_type: EventType[Data], data: Data, *, aggregate: str) -> None:
        """Publishes an event when the transaction has committed. Lock the aggregate's row before."""
        await emit(self.connection, event_type, data, aggregate=aggregate, cause=self.event)


Handler = Callable[[Event[Data], Work], Awaitable[None]]
"""Does database work only. Events may arrive in any order. An exception: roll back, retry later."""


@dataclass(frozen=True)
class Shared:
    """What the consumers of one process have in common."""

    database_url: str
    pool: Pool
    producers: Producers
    publisher: Publisher
    relay: Relay
    intake: Intake
    replica: Replica
    retention: timedelta


class Consumer(Generic[Data]):
    def __init__(
        self,
        event_type: EventType[Data],
        handler: Handler[Data],
        topology: Topology,
        prefetch: int,
        shared: Shared,
    ) -> None:
        self.queue = topology.queue
        self.prefetch = prefetch
        self.running: set[asyncio.Task[None]] = set()
        self._event_type = event_type
        self._handler = handler
        self._topology = topology
        self._shared = shared
        self._channel: AbstractChannel | None = None
        self._taking = 0
        self._tag: str | None = None
        shared.intake.add(self)

    def attach(self, channel: AbstractChannel | None) -> None:
        """A new connection: `Intake.apply` subscribes on it. None: there is none."""
        self._channel, self._taking, self._tag = channel, 0, None

    async def take(self, prefetch: int) -> None:
        channel = self._channel
        if channel is None or channel.is_closed or prefetch == self._taking:
            return
        queue = await channel.get_queue(self.queue, ensure=False)
        if self._tag is not None:
            await queue.cancel(self._tag)
            self._tag = None
        if prefetch > 0:
            await channel.set_qos(prefetch)
            self._tag = await queue.consume(lambda message: self._arrive(message, channel))
        self._taking = prefetch

    async def _arrive(self, message: AbstractIncomingMessage, channel: AbstractChannel) -> None:
        task = asyncio.create_task(self._settle(message, channel))
        self.running.add(task)
        task.add_done_callback(self.running.discard)

    async def _settle(self, message: AbstractIncomingMessage, channel: AbstractChannel) -> None:
        try:
            await self._judge_and_handle(message, channel)
        except NOT_PUBLISHED as error:
            log.debug("the delivery is lost; the broker redelivers it", extra={"err": error})
        except Exception as error:
            # A bug in this consumer: the broker moves the message to the dead-letter queue.
            log.error("consumer error; message rejected", extra={"err": error, "queue": self.queue})
            await message.reject(requeue=False)

    async def _judge_and_handle(self, message: AbstractIncomingMessage, channel: AbstractChannel) -> None:
        verdict = self._judge(message)
        if isinstance(verdict, Failure):
            return await self._dead_letter(message, channel, verdict)
        intake = self._shared.intake
        if failures.deliveries_of(message) < SUSPECT_DELIVERIES:
            if intake.prefetch_of(self) == 0:
                return await self._return(message, channel)
            return await self._handle(message, channel, verdict)
        if not await intake.claim(self):
            return await self._return(message, channel)
        log.warning("handling a redelivered event alone", extra=self._fields(verdict))
        try:
            await self._handle(message, channel, verdict)
        finally:
            await intake.release(self)

    # --- Judging ---

    def _judge(self, message: AbstractIncomingMessage) -> Event[Data] | Failure:
        """The producer is checked first: nothing else of a forged message is read."""
        shared, now = self._shared, datetime.now(UTC)
        forged = shared.producers.refuse(message.user_id, self._event_type.producer)
        if forged is not None:
            return Failure("forged", forged)
        limit = self._topology.delivery_limit
        if failures.deliveries_of(message) > limit:
            return Failure("delivery_limit", f"delivered more than {limit} times, and never settled")
        try:
            published = failures.published_at(message, now)
            event = parse_event(message.body, self._event_type, published)
            if event.time < now - shared.retention:
                raise ContractError("expired", f"the event of {event.time} is too old for the inbox")
            return event
        except ContractError as error:
            return Failure(error.code, str(error))

    # --- Handling ---

    async def _handle(
        self, message: AbstractIncomingMessage, channel: AbstractChannel, event: Event[Data]
    ) -> None:
        started = time.monotonic()
        for attempt in range(RETRIES_IN_PLACE + 1):
            try:
                outcome = await self._transact(event)
            except Exception as error:
                # Without its database nothing can be handled, so no event climbs the ladder for it.
                is_unavailable = is_outage(error) or isinstance(error, HandlerTimeout)
                if is_unavailable and not await is_available(self._shared.database_url):
                    self._shared.intake.suspend()
                    return await self._return(message, channel)
                if (is_outage(error) or is_lost_race(error)) and attempt < RETRIES_IN_PLACE:
                    await asyncio.sleep(0.1 * 2**attempt)
                    continue
                return await self._fail(message, channel, error)
            await message.ack()
            milliseconds = round((time.monotonic() - started) * 1000, 1)
            log.info("event", extra={**self._fields(event), "outcome": outcome, "ms": milliseconds})
            return None

    async def _transact(self, event: Event[Data]) -> str:
        async with self._shared.pool.connection() as connection:
            if not await is_new(connection, self.queue, event):
                return "duplicate"
            try:
                async with asyncio.timeout(HANDLER_TIMEOUT):
                    await self._handler(event, Work(connection, event))
            except TimeoutError as error:
                raise HandlerTimeout(f"the handler took over {HANDLER_TIMEOUT} s") from error
            # PostgreSQL would answer the commit of a failed transaction with a rollback, and no error.
            if connection.info.transaction_status is not TransactionStatus.INTRANS:
                raise RuntimeError("the handler caught an SQL error and went on")
        self._shared.relay.wake()
        return "handled"

    def _fields(self, event: Event[Data]) -> Mapping[str, Any]:
        return {
            "eventId": event.id,
            "eventType": event.type,
            "correlationId": event.correlation_id,
            "queue": self.queue,
        }

    # --- Leaving: the original is acknowledged when its copy is confirmed, and not before ---

    async def _fail(
        self, message: AbstractIncomingMessage, channel: AbstractChannel, error: Exception
    ) -> None:
        failure = Failure("handler_failed", f"{type(error).__name__}: {error}")
        attempts, ladder = failures.attempts_of(message), self._topology.ladder
        if attempts >= len(ladder):
            return await self._dead_letter(message, channel, failure)
        delay, shared = ladder[attempts], self._shared
        copy = failures.retry(message, self.queue, delay, failure, shared.replica, shared.producers.user)
        await self._leave(message, channel, self._topology.retry_exchange, delay.name, copy)
        fields = {"queue": self.queue, "attempt": attempts + 1, "delay": delay.name, "err": error}
        log.warning("event handler failed; retrying later", extra=fields)

    async def _dead_letter(
        self, message: AbstractIncomingMessage, channel: AbstractChannel, failure: Failure
    ) -> None:
        shared, topology = self._shared, self._topology
        user = shared.producers.user
        copy = failures.dead_letter(message, self.queue, failure, shared.replica, user)
        await self._leave(message, channel, topology.return_exchange, topology.dead_letters, copy)
        fields = {"queue": self.queue, "reason": failure.reason, "messageId": message.message_id}
        log.error("dead-lettered", extra={**fields, "error": failure.error})

    async def _return(self, message: AbstractIncomingMessage, channel: AbstractChannel) -> None:
        copy = failures.returned(message, self._shared.producers.user)
        await self._leave(message, channel, self._topology.return_exchange, self.queue, copy)

    async def _leave(
        self,
        message: AbstractIncomingMessage,
        channel: AbstractChannel,
        exchange: str,
        key: str,
        copy: aio_pika.Message,
    ) -> None:
        publish: Publish = self._shared.publisher.publish
        delay = 0.1
        while True:
            try:
                await publish(exchange, key, copy)
                break
            except NOT_PUBLISHED as error:
                if channel.is_closed:
                    raise
                if is_about_the_message(error):
                    # The channel is shared: by itself it shows whether it was this message.
                    if publish == self._shared.publisher.publish_alone:
                        log.error("cannot publish a failed message", extra={"err": error})
                        return await message.reject(requeue=False)
                    publish = self._shared.publisher.publish_alone
            await asyncio.sleep(delay)
            delay = min(5.0, delay * 2)
        await message.ack()
