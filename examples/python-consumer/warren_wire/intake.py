"""How much the consumers of one process take from the broker.

OPEN       their prefetch
SUSPENDED  nothing, and deliveries are returned: the database is unavailable
ALONE      one message that may have ended its process before is handled while the process holds no
           other: if the process dies again, it is the cause
CAREFUL    after that, one message at a time of its queue, and none of the others, until no such
           message came for a second
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Protocol

from .database import is_available

log = logging.getLogger(__name__)

QUIET = 1.0
"""Seconds of CAREFUL without a suspect message."""


class Taker(Protocol):
    """A consumer, as the intake sees it."""

    queue: str
    prefetch: int
    running: set[asyncio.Task[None]]

    async def take(self, prefetch: int) -> None:
        """Subscribes with this prefetch; 0 cancels the subscription."""


class Intake:
    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._takers: list[Taker] = []
        self._changing = asyncio.Lock()
        self._suspended = False
        self._stopped = False
        self._alone: Taker | None = None
        self._careful: Taker | None = None
        self._quiet: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, taker: Taker) -> None:
        self._takers.append(taker)

    def prefetch_of(self, taker: Taker) -> int:
        """0: nothing of this queue may be handled now, unless alone."""
        if self._stopped or self._suspended or self._alone is not None:
            return 0
        if self._careful is not None:
            return 1 if self._careful is taker else 0
        return taker.prefetch

    async def apply(self) -> None:
        async with self._changing:
            for taker in self._takers:
                await taker.take(self.prefetch_of(taker))

    async def stop(self) -> None:
        """Takes nothing more; what is being handled goes on."""
        self._stopped = True
        if self._quiet is not None:
            self._quiet.cancel()
        for task in self._tasks:
            task.cancel()
        await self.apply()

    def suspend(self) -> None:
        """Takes nothing until the database is available."""
        if not self._suspended and not self._stopped:
            self._suspended = True
            self._spawn(self._until_available())

    async def claim(self, taker: Taker) -> bool:
        """ALONE. Returns False when the message has to be returned, because of another one."""
        if self._suspended or self._stopped or self._alone is not None:
            return False
        if self._careful is not None:
            # With a prefetch of 1, every message is alone.
            return self._careful is taker
        self._alone = taker
        await self.apply()
        own = asyncio.current_task()
        others = {task for each in self._takers for task in each.running if task is not own}
        if others:
            await asyncio.wait(others)
        return True

    async def release(self, taker: Taker) -> None:
        """ALONE has ended."""
        self._alone = None
        self._careful = taker
        if self._quiet is not None:
            self._quiet.cancel()
        self._quiet = asyncio.get_running_loop().call_later(QUIET, self._leave_careful)
        await self.apply()

    def _leave_careful(self) -> None:
        self._careful = None
        self._spawn(self.apply())

    async def _until_available(self) -> None:
        log.warning("the database is unavailable; events wait in the broker")
        await self.apply()
        delay = 0.2
        while not await is_available(self._database_url):
            await asyncio.sleep(delay)
            delay = min(5.0, delay * 2)
        self._suspended = False
        log.info("the database is available again")
        await self.apply()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
