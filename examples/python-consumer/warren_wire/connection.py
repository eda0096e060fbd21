"""The consuming connection: declares the queues, subscribes, and starts over when it is lost."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any

from aio_pika.abc import AbstractConnection
from aiormq.exceptions import ChannelClosed

from .consumer import Consumer
from .intake import Intake
from .publisher import NOT_PUBLISHED, connect
from .topology import Topology

log = logging.getLogger(__name__)

ADVICE = "import the definitions of the platform and of this service, or delete a queue with other arguments"
CHECK_EVERY = 5.0
"""Seconds between two checks of the topology: the broker does not report a deleted binding."""


class Consuming:
    def __init__(
        self,
        url: str,
        name: str,
        topologies: Sequence[Topology],
        consumers: Sequence[Consumer[Any]],
        intake: Intake,
    ) -> None:
        self._url = url
        self._name = name
        self._topologies = topologies
        self._consumers = consumers
        self._intake = intake
        self.was_declared = False
        """From then on the queues hold what this service has not consumed yet."""
        self.problem: str | None = "not connected to the broker yet"

    async def run(self) -> None:
        """Until it is cancelled."""
        delay = 0.2
        while True:
            try:
                async with await connect(self._url, self._name) as connection:
                    await self._consume(connection)
            except NOT_PUBLISHED as error:
                delay = 0.2 if self.problem is None else min(5.0, delay * 2)
                self._report(error)
            finally:
                for consumer in self._consumers:
                    consumer.attach(None)
            await asyncio.sleep(delay)

    def _report(self, error: Exception) -> None:
        """Logs a problem once, not at each attempt."""
        if isinstance(error, ChannelClosed):
            problem = f"the broker refused the queues of this service ({error}): {ADVICE}"
        else:
            problem = f"the broker is unavailable: {error}"
        if problem != self.problem:
            log.warning("not connected to the broker; retrying", extra={"reason": problem})
        self.problem = problem

    async def _consume(self, connection: AbstractConnection) -> None:
        """Raises when the connection or a subscription is lost."""
        async with connection.channel() as channel:
            for topology in self._topologies:
                await topology.declare(channel)
        lost = asyncio.get_running_loop().create_future()
        for consumer in self._consumers:
            consuming = await connection.channel()
            underlay = await consuming.get_underlay_channel()
            underlay.on_consumer_cancel_callbacks.add(lambda _frame: _settle(lost))
            consuming.close_callbacks.add(lambda *_: _settle(lost))
            consumer.attach(consuming)
        await self._intake.apply()
        self.was_declared, self.problem = True, None
        log.info("connected to the broker")
        while not lost.done():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(lost), CHECK_EVERY)
                break
            async with connection.channel() as channel:
                for topology in self._topologies:
                    await topology.check(channel)
        raise ConnectionError("a connection, queue or binding was lost")


def _settle(lost: asyncio.Future[None]) -> None:
    if not lost.done():
        lost.set_result(None)
