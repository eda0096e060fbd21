"""The outbox: an event is a row, written in the transaction that it reports; a relay publishes it.

One replica relays; the others stand by. Events of one aggregate are published in the order of their
commits, because a round has at most one event of each aggregate and ends with its confirms."""

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import aio_pika
import psycopg
from psycopg.rows import class_row

from .contract import Data, EventType
from .database import TIMEOUTS, Connection
from .envelope import CONTENT_TYPE, Event, build_event
from .publisher import NOT_PUBLISHED, Publisher
from .topology import EVENTS

log = logging.getLogger(__name__)

POLL = 0.5
"""Seconds between polls for the commits of other replicas."""
ROUND = 200
"""Events in flight, at most."""


async def emit(
    connection: Connection,
    event_type: EventType[Data],
    data: Data,
    *,
    aggregate: str,
    cause: Event[Any],
) -> str:
    """Writes an event to the outbox; returns its id. Lock the aggregate's row before.

    Raises `ContractError` when the data does not fit its contract.
    """
    event_id, body = build_event(
        event_type,
        data,
        subject=aggregate,
        correlation_id=cause.correlation_id,
        causation_id=cause.id,
        traceparent=cause.traceparent,
    )
    await connection.execute(
        "insert into warren.outbox (event_id, type, routing_key, aggregate, body, correlation_id,"
        " traceparent) values (%s, %s, %s, %s, %s, %s, %s)",
        (
            event_id,
            event_type.type,
            event_type.routing_key,
            aggregate,
            body,
            cause.correlation_id,
            cause.traceparent,
        ),
    )
    return event_id


_TRY_LOCK = "select pg_try_advisory_lock(hashtextextended('warren.outbox', 0))"
_READ = f"""
    select distinct on (aggregate)
           id, event_id, type, routing_key, body, correlation_id, traceparent, created_at
    from warren.outbox order by aggregate, id limit {ROUND}"""


@dataclass(frozen=True)
class _Row:
    id: int
    event_id: UUID
    type: str
    routing_key: str
    body: str
    correlation_id: str
    traceparent: str | None
    created_at: datetime


class Relay:
    """Publishes the outbox, until it is drained."""

    def __init__(self, service: str, database_url: str, publisher: Publisher, user: str) -> None:
        self._service = service
        self._database_url = database_url
        self._publisher = publisher
        self._user = user
        self._woken = asyncio.Event()
        self._draining = asyncio.Event()

    def wake(self) -> None:
        """A transaction of this process has committed an event."""
        self._woken.set()

    def drain(self) -> None:
        """`run` ends when the outbox is empty, or cannot be emptied now."""
        self._draining.set()
        self.wake()

    async def run(self) -> None:
        delay, was_lost = 0.1, False
        while not self._draining.is_set():
            try:
                async with await self._connect() as connection:
                    if not await self._has_lock(connection):
                        continue
                    while await self._publish_round(connection) > 0 or await self._sleep():
                        if was_lost:
                            log.info("outbox relay publishes again")
                        delay, was_lost = 0.1, False
            except (psycopg.Error, *NOT_PUBLISHED) as error:
                if not was_lost:
                    log.warning("outbox relay cannot publish; retrying", extra={"err": error})
                was_lost = True
                await _wait(self._draining, delay)
                delay = min(5.0, delay * 2)

    async def _connect(self) -> Connection:
        return await psycopg.AsyncConnection.connect(
            self._database_url,
            autocommit=True,
            application_name=f"{self._service} relay",
            **TIMEOUTS,
        )

    async def _has_lock(self, connection: Connection) -> bool:
        """Stands by until it has the lock, which lives as long as this connection."""
        while not self._draining.is_set():
            cursor = await connection.execute(_TRY_LOCK)
            if await cursor.fetchone() == (True,):
                return True
            await _wait(self._draining, 1)
        return False

    async def _sleep(self) -> bool:
        """Until there may be something to publish. Returns False if it is drained."""
        if self._draining.is_set():
            return False
        await _wait(self._woken, POLL)
        self._woken.clear()
        return True

    async def _publish_round(self, connection: Connection) -> int:
        """Returns how many were published. Raises what the first of the others failed with."""
        async with connection.cursor(row_factory=class_row(_Row)) as cursor:
            rows = await (await cursor.execute(_READ)).fetchall()
            results = await asyncio.gather(*map(self._publish, rows), return_exceptions=True)
            confirmed = [row.id for row, result in zip(rows, results, strict=True) if result is None]
            await cursor.execute("delete from warren.outbox where id = any(%s)", (confirmed,))
        for result in results:
            if result is not None:
                raise result
        return len(confirmed)

    async def _publish(self, row: _Row) -> None:
        message = aio_pika.Message(
            row.body.encode(),
            content_type=CONTENT_TYPE,
            message_id=str(row.event_id),
            type=row.type,
            timestamp=row.created_at,
            app_id=self._service,
            user_id=self._user,
            correlation_id=row.correlation_id,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            headers={} if row.traceparent is None else {"traceparent": row.traceparent},
        )
        # An event that no queue takes is not lost: `events` has an alternate exchange.
        await self._publisher.publish(EVENTS, row.routing_key, message, must_route=False)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
