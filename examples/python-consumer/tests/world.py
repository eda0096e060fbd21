"""A real broker and a real database for one test: a vhost with the platform's exchanges and users, and a
database of its own."""

import asyncio
import base64
import json
import os
import secrets
import subprocess
import urllib.request
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import uuid4

import aio_pika
import psycopg
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from psycopg.sql import SQL, Identifier

HERE = Path(__file__).parent.parent
ROOT = HERE.parent.parent

T = TypeVar("T")


def needed(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise RuntimeError(f"{name} is not set: run `make test SUITES=examples/python-consumer`")
    return value


async def eventually(check: Callable[[], Awaitable[T]], within: float = 20.0) -> T:
    """Repeats a check until it passes."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while True:
        try:
            return await check()
        except AssertionError:
            if loop.time() > deadline:
                raise
            await asyncio.sleep(0.05)


@cache
def definitions() -> dict[str, Any]:
    """What scripts/foreign-definitions.ts makes of asyncapi.json: the exchanges, and the user of `points`."""
    script = ["node", "scripts/foreign-definitions.ts", "examples/python-consumer/asyncapi.json"]
    printed = subprocess.run(script, cwd=ROOT, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(printed.stdout)
    return found


def order_event(**data: Any) -> dict[str, Any]:
    """An `order.confirmed` as the order service publishes it."""
    order_id = data.get("orderId", str(uuid4()))
    return {
        "specversion": "1.0",
        "id": str(uuid4()),
        "source": "/order",
        "type": "order.confirmed",
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "dataschema": "urn:warren:order.confirmed:v1",
        "subject": order_id,
        "correlationid": f"correlation-{order_id}",
        "data": {
            "orderId": order_id,
            "userId": str(uuid4()),
            "productName": "Tea",
            "price": 12.5,
            "currency": "EUR",
            **data,
        },
    }


class World:
    def __init__(self) -> None:
        self.name = f"warren-test-{secrets.token_hex(4)}"
        self.admin_url = self._on_vhost(needed("AMQP_URL"))
        self.database_url = self._database(self.name)
        self._users: dict[str, str] = {}
        self._connections: dict[str, AbstractConnection] = {}

    # --- The broker ---

    def _on_vhost(self, url: str) -> str:
        return urlunsplit(urlsplit(url)._replace(path=f"/{self.name}"))

    def url(self, service: str) -> str:
        """AMQP URL of a service's user."""
        parts = urlsplit(self.admin_url)
        user = f"{self.name}.{service}:{self._users[service]}@{parts.hostname}:{parts.port}"
        return urlunsplit(parts._replace(netloc=user))

    async def api(self, method: str, path: str, body: object | None = None) -> Any:
        credentials = urlsplit(needed("AMQP_URL"))
        basic = f"{credentials.username or 'guest'}:{credentials.password or 'guest'}".encode()
        request = urllib.request.Request(
            f"{needed('AMQP_MANAGEMENT_URL').rstrip('/')}/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "authorization": f"Basic {base64.b64encode(basic).decode()}",
                "content-type": "application/json",
            },
        )

        def send() -> bytes:
            with urllib.request.urlopen(request, timeout=30) as response:
                content: bytes = response.read()
                return content

        content = await asyncio.to_thread(send)
        return json.loads(content) if content else None

    async def open(self) -> None:
        await self.api("PUT", f"vhosts/{self.name}", {})
        admin = urlsplit(self.admin_url).username or "guest"
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        await self.api("PUT", f"permissions/{self.name}/{admin}", everything)
        shared = {name: definitions()[name] for name in ("exchanges", "queues", "bindings")}
        await self.api("POST", f"definitions/{self.name}", shared)
        await self.make_user("points", definitions())
        # As the definitions of the platform have it, for the one key that these tests need.
        own = {"user": "order", "configure": "^order\\.", "write": "^(order\\..*|events)$", "read": "^$"}
        keys = {"user": "order", "exchange": "events", "write": "^order\\.", "read": "^$"}
        await self.make_user("order", {"permissions": [own], "topic_permissions": [keys]})
        server = needed("DATABASE_URL")
        async with await psycopg.AsyncConnection.connect(server, autocommit=True) as connection:
            await connection.execute(SQL("create database {}").format(Identifier(self.name)))

    async def make_user(self, service: str, granted: dict[str, Any]) -> None:
        self._users[service] = secrets.token_hex(8)
        user = f"{self.name}.{service}"
        await self.api("PUT", f"users/{user}", {"password": self._users[service], "tags": ""})
        for kind, path in (("permissions", "permissions"), ("topic_permissions", "topic-permissions")):
            for each in granted[kind]:
                if each["user"] == service:
                    await self.api("PUT", f"{path}/{self.name}/{user}", each)

    async def close(self) -> None:
        for connection in self._connections.values():
            await connection.close()
        for service in self._users:
            await self.api("DELETE", f"users/{self.name}.{service}")
        await self.api("DELETE", f"vhosts/{self.name}")
        server = needed("DATABASE_URL")
        async with await psycopg.AsyncConnection.connect(server, autocommit=True) as database:
            await database.execute(
                SQL("drop database if exists {} with (force)").format(Identifier(self.name))
            )

    async def connection(self, service: str | None = None) -> AbstractConnection:
        """Of a service's user, or of the operator."""
        key = service or ""
        if key not in self._connections:
            url = self.admin_url if service is None else self.url(service)
            self._connections[key] = await aio_pika.connect(url)
        return self._connections[key]

    async def publish(
        self,
        body: bytes | dict[str, Any],
        *,
        as_service: str = "order",
        key: str = "order.confirmed.v1",
        **properties: Any,
    ) -> None:
        """Publishes to `events` and waits for the confirm."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection = await self.connection(as_service)
        given = {
            "content_type": "application/cloudevents+json",
            "user_id": f"{self.name}.{as_service}",
            "message_id": body["id"] if isinstance(body, dict) else str(uuid4()),
            "delivery_mode": aio_pika.DeliveryMode.PERSISTENT,
            **properties,
        }
        async with connection.channel() as channel:
            exchange = await channel.get_exchange("events", ensure=False)
            await exchange.publish(aio_pika.Message(content, **given), key)

    async def listen(self, key: str) -> list[AbstractIncomingMessage]:
        """What is published to `events` under this key from now on."""
        channel = await (await self.connection()).channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind("events", key)
        received: list[AbstractIncomingMessage] = []

        async def receive(message: AbstractIncomingMessage) -> None:
            received.append(message)

        await queue.consume(receive, no_ack=True)
        return received

    async def messages(self, queue: str) -> list[AbstractIncomingMessage]:
        """The messages of a queue, oldest first. They stay in it, and each has one more delivery."""
        found: list[AbstractIncomingMessage] = []
        async with (await self.connection()).channel() as channel:
            source = await channel.get_queue(queue, ensure=False)
            while (message := await source.get(fail=False)) is not None:
                found.append(message)
        return found

    async def depth(self, queue: str) -> int:
        """Messages that are ready."""
        async with (await self.connection()).channel() as channel:
            found = await channel.declare_queue(queue, passive=True)
            return found.declaration_result.message_count or 0

    async def dead_letters(self, count: int, within: float = 20.0) -> list[AbstractIncomingMessage]:
        """Waits for so many."""

        async def check() -> list[AbstractIncomingMessage]:
            found = await self.messages("points.order.confirmed.dlq")
            assert len(found) == count
            return found

        return await eventually(check, within)

    # --- The database ---

    def _database(self, name: str) -> str:
        return urlunsplit(urlsplit(needed("DATABASE_URL"))._replace(path=f"/{quote(name)}"))

    async def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        async with await psycopg.AsyncConnection.connect(self.database_url) as connection:
            cursor = await connection.execute(statement.encode(), values)
            return await cursor.fetchall() if cursor.description else []

    async def has_earned(self, *order_ids: str) -> None:
        """Waits until each of these orders has earned its points."""

        async def check() -> None:
            rows = await self.sql(
                "select order_id from earnings where order_id = any(%s::uuid[])", list(order_ids)
            )
            assert {str(row[0]) for row in rows} == set(order_ids)

        await eventually(check)
