"""The inbox: an event's id is written in the transaction of its effect, so it has that effect once."""

import hashlib
import json
from typing import Any
from uuid import UUID

from .contract import UUID as IS_UUID
from .database import Connection, Pool
from .envelope import Event


def inbox_id(event: Event[Any]) -> UUID:
    """The event's id if that is a UUID; else one that is made of source and id (version 8)."""
    if IS_UUID.fullmatch(event.id):
        return UUID(event.id)
    digest = bytearray(hashlib.sha256(json.dumps([event.source, event.id]).encode()).digest()[:16])
    digest[6] = 0x80 | (digest[6] & 0x0F)
    digest[8] = 0x80 | (digest[8] & 0x3F)
    return UUID(bytes=bytes(digest))


async def is_new(connection: Connection, consumer: str, event: Event[Any]) -> bool:
    """Writes the id. Waits for another transaction that handles the same event."""
    done = await connection.execute(
        "insert into warren.inbox (consumer, event_id) values (%s, %s) on conflict do nothing",
        (consumer, inbox_id(event)),
    )
    return done.rowcount == 1


async def prune(pool: Pool, retention: float) -> int:
    """Forgets what is older than `retention` seconds: an event of that age is refused."""
    async with pool.connection() as connection:
        done = await connection.execute(
            "delete from warren.inbox where received_at < now() - make_interval(secs => %s)",
            (retention,),
        )
        return done.rowcount
