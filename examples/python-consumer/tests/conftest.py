from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from .process import Process
from .world import World

pytest_plugins = ["tests.totals"]

Start = Callable[..., Awaitable[Process]]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.open()
    yield world
    await world.close()


@pytest.fixture
async def start(world: World) -> AsyncIterator[Start]:
    """Starts the service, with these variables besides; it is ready."""
    started: list[Process] = []

    async def start_process(module: str = "points", **env: str) -> Process:
        process = Process(world, module, **env)
        started.append(process)
        await process.start()
        await process.ready()
        return process

    yield start_process
    for process in started:
        await process.kill()
