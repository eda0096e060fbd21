"""A service: starts its parts, runs until SIGTERM, and drains."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic

import psycopg

from .config import Settings
from .connection import Consuming
from .consumer import Consumer, Handler, Shared
from .contract import Data, EventType
from .database import migrate, open_pool
from .failures import Replica
from .health import serve_health
from .inbox import prune
from .intake import Intake
from .outbox import Relay
from .producers import Producers
from .publisher import Publisher
from .topology import Topology

log = logging.getLogger(__name__)

PRUNE_EVERY = 3600.0


@dataclass(frozen=True)
class Subscription(Generic[Data]):
    """An event that a service consumes, from its queue `SERVICE.TYPE`."""

    event_type: EventType[Data]
    handler: Handler[Data]
    prefetch: int = 10
    """Messages in flight; each has a transaction, and so a connection to the database."""


@dataclass(frozen=True)
class Service:
    name: str
    version: str
    subscriptions: Sequence[Subscription[Any]]
    schema: str = ""
    """SQL that may run at every start."""


class _Running:
    """The parts of a service that runs."""

    def __init__(self, service: Service, settings: Settings) -> None:
        name, url = service.name, settings.amqp_url
        self.settings = settings
        self.producers = Producers(name, url, settings.producer_check, settings.operators)
        self.pool = open_pool(settings.database_url, sum(each.prefetch for each in service.subscriptions) + 1)
        label = f"{name} {settings.instance}"
        self.publishers = [Publisher(url, f"{label} {role}") for role in ("relay", "failed")]
        relaying, failed = self.publishers
        self.relay = Relay(name, settings.database_url, relaying, self.producers.user)
        self.intake = Intake(settings.database_url)
        shared = Shared(
            database_url=settings.database_url,
            pool=self.pool,
            producers=self.producers,
            publisher=failed,
            relay=self.relay,
            intake=self.intake,
            replica=Replica(settings.instance, service.version),
            retention=settings.inbox_retention,
        )
        topologies = [
            Topology(name, each.event_type.type, each.event_type.routing_key, settings.retry_delays)
            for each in service.subscriptions
        ]
        self.consumers = [
            Consumer(each.event_type, each.handler, topology, each.prefetch, shared)
            for each, topology in zip(service.subscriptions, topologies, strict=True)
        ]
        self.consuming = Consuming(url, f"{label} consume", topologies, self.consumers, self.intake)
        self.problem: str | None = "the database is not migrated yet"

    def why_not_ready(self) -> str | None:
        """A broker that becomes unavailable later changes nothing: the queues hold the events."""
        if self.problem is not None or self.consuming.was_declared:
            return self.problem
        return self.consuming.problem

    async def prune_inbox(self) -> None:
        while True:
            await asyncio.sleep(PRUNE_EVERY)
            try:
                await prune(self.pool, self.settings.inbox_retention.total_seconds())
            except psycopg.Error as error:
                log.warning("cannot prune the inbox", extra={"err": error})

    async def drain(self, relaying: asyncio.Task[None]) -> None:
        """Takes nothing more, finishes what is in flight, and publishes what that has committed."""
        self.problem = "draining"
        log.info("draining")
        await self.intake.stop()
        if running := [task for consumer in self.consumers for task in consumer.running]:
            await asyncio.wait(running)
        self.relay.drain()
        await relaying


async def run(service: Service, settings: Settings) -> int:
    """Runs until SIGTERM or SIGINT; returns the exit code: 1 if it took longer than the grace."""
    stopping = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stopping.set)
    parts = _Running(service, settings)
    health = await serve_health(settings.listen_host, settings.admin_port, parts.why_not_ready)
    tasks: list[asyncio.Task[None]] = []
    try:
        if not await _migrated(service, settings, stopping):
            return 0
        await parts.pool.open()
        parts.problem = None
        relaying = asyncio.create_task(parts.relay.run())
        tasks = [asyncio.create_task(work) for work in (parts.consuming.run(), parts.prune_inbox())]
        tasks.append(relaying)
        await _first(asyncio.create_task(_wait(stopping)), *tasks)
        try:
            async with asyncio.timeout(settings.shutdown_grace * 0.9):
                await parts.drain(relaying)
        except TimeoutError:
            log.error("SHUTDOWN_GRACE exceeded; unfinished work will be redone")
            return 1
        log.info("stopped")
        return 0
    finally:
        health.close()
        await _close(parts, tasks)


async def _migrated(service: Service, settings: Settings, stopping: asyncio.Event) -> bool:
    """Retries until the database is available; returns False if the service stops before."""
    delay = 0.2
    while not stopping.is_set():
        try:
            await migrate(settings.database_url, service.schema)
            return True
        except (psycopg.OperationalError, OSError) as error:
            if delay == 0.2:
                log.warning("the database is unavailable; retrying", extra={"err": error})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), delay)
            delay = min(5.0, delay * 2)
    return False


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def _first(*tasks: asyncio.Task[None]) -> None:
    """Until the first of them ends; raises what it failed with."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def _close(parts: _Running, tasks: Sequence[asyncio.Task[None]]) -> None:
    unfinished = [task for consumer in parts.consumers for task in consumer.running]
    for task in (*tasks, *unfinished):
        task.cancel()
    await asyncio.gather(*tasks, *unfinished, return_exceptions=True)
    await asyncio.gather(*(each.close() for each in parts.publishers), return_exceptions=True)
    await parts.pool.close()
