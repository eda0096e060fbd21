"""PostgreSQL: whether an error is the database's or the message's, and when it is available again."""

import asyncio
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
Pool = AsyncConnectionPool[Connection]

PROBE_TIMEOUT = 3.0
TIMEOUTS: Mapping[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 2,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 6000,
}
"""A host that vanishes is noticed within seconds."""

_OUTAGE_CLASSES = {"08", "28", "3D", "53", "57", "58"}
_OUTAGE_CODES = {"55000", "25006"}
_STATEMENT_CODES = {"57014"}
"""A statement's own time-out."""
_LOST_RACES = {"40001", "40P01"}
"""Serialization failure, deadlock: the same transaction may succeed now."""


def open_pool(url: str, size: int) -> Pool:
    """Not opened yet. A connection that was lost while it was idle is found before it is used."""
    return AsyncConnectionPool(
        url,
        min_size=1,
        max_size=size,
        timeout=5,
        open=False,
        check=AsyncConnectionPool.check_connection,
        kwargs=dict(TIMEOUTS),
    )


def is_outage(error: BaseException) -> bool:
    """True for an error that means the database is unavailable, whatever the message is."""
    if isinstance(error, PoolTimeout | TimeoutError | OSError):
        return True
    if not isinstance(error, psycopg.Error):
        return False
    code = error.sqlstate
    if code is None:
        return isinstance(error, psycopg.OperationalError)
    return code in _OUTAGE_CODES or (code[:2] in _OUTAGE_CLASSES and code not in _STATEMENT_CODES)


def is_lost_race(error: BaseException) -> bool:
    return isinstance(error, psycopg.Error) and error.sqlstate in _LOST_RACES


async def is_available(url: str) -> bool:
    """Tries a transaction that writes, on a connection of its own."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            async with await psycopg.AsyncConnection.connect(url) as connection:
                await connection.execute("select pg_current_xact_id()")
                return True
    except (psycopg.Error, OSError, TimeoutError):
        return False


async def migrate(url: str, *scripts: str) -> None:
    """Runs the schema of warren_wire, then the service's own scripts: each may run again."""
    own = files("warren_wire").joinpath("schema.sql").read_text()
    async with await psycopg.AsyncConnection.connect(url, connect_timeout=5) as connection:
        # Two replicas that start at once wait for each other.
        await connection.execute("select pg_advisory_xact_lock(hashtextextended('warren.schema', 0))")
        for script in (own, *scripts):
            await connection.execute(script.encode())
