"""The service as a process of its own, as it runs in production."""

import asyncio
import json
import signal
import socket
import sys
import urllib.error
import urllib.request
from typing import Any

from .world import HERE, World, eventually


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    def __init__(self, world: World, module: str = "points", **env: str) -> None:
        self._world = world
        self._module = module
        self._env = env
        self._port = free_port()
        self._reading: asyncio.Task[None] | None = None
        self.lines: list[str] = []

    async def start(self) -> None:
        env = {
            "AMQP_URL": self._world.url("points"),
            "DATABASE_URL": self._world.database_url,
            "RETRY_DELAYS": "200ms,400ms",
            "ADMIN_PORT": str(self._port),
            "SHUTDOWN_GRACE": "10",
            **self._env,
        }
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", self._module),
            cwd=HERE,
            env=env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.lines.append(line.decode().rstrip())

    @property
    def logs(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines if line.startswith("{")]

    async def readiness(self) -> int:
        """The status of /readyz; 0 if nothing listens."""
        return (await self.reason())[0]

    async def reason(self) -> tuple[int, str]:
        """The status of /readyz, and its body."""

        def ask() -> tuple[int, str]:
            try:
                url = f"http://127.0.0.1:{self._port}/readyz"
                with urllib.request.urlopen(url, timeout=5) as response:
                    return response.status, response.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()
            except OSError as error:
                return 0, str(error)

        return await asyncio.to_thread(ask)

    async def ready(self) -> None:
        async def check() -> None:
            assert self._process.returncode is None, "\n".join(self.lines[-20:])
            assert await self.readiness() == 200, "\n".join(self.lines[-20:])

        await eventually(check)

    async def ended(self) -> int:
        code = await self._process.wait()
        if self._reading is not None:
            await self._reading
        return code

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Sends the signal, and returns the exit code."""
        if self._process.returncode is None:
            self.send(number)
        return await self.ended()
