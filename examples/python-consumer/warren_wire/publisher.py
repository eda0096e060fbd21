"""Publishes with confirms, on a connection of its own: a broker that blocks publishers must not
stop the acknowledgements of a consumer."""

import asyncio

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import AMQPError
from aiormq.exceptions import ChannelPreconditionFailed, PublishError

NOT_PUBLISHED = (AMQPError, OSError, TimeoutError, RuntimeError)
"""What `publish` raises. A closed channel is a RuntimeError of aio-pika."""
CONFIRM_TIMEOUT = 30.0
"""Seconds; after it, the broker may have the message all the same."""


class Publisher:
    """Opens its connection with the first message, and again after it was lost."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._opening = asyncio.Lock()

    async def publish(
        self, exchange: str, key: str, message: aio_pika.Message, *, must_route: bool = True
    ) -> None:
        """Returns when the broker has stored the message.

        Raises if it has not, or may not have; with `must_route` also if no queue took it.
        """
        channel = await self._open()
        target = await channel.get_exchange(exchange, ensure=False)
        try:
            await target.publish(message, key, mandatory=True, timeout=CONFIRM_TIMEOUT)
        except PublishError:
            if must_route:
                raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling() > 0:
                raise
            raise ConnectionError("the connection was lost before the confirm") from error

    async def publish_alone(self, exchange: str, key: str, message: aio_pika.Message) -> None:
        """The same, on a connection of its own: what the broker says is about this message."""
        publisher = Publisher(self._url, self._name)
        try:
            await publisher.publish(exchange, key, message)
        finally:
            await publisher.close()

    async def close(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            await connection.close()

    async def _open(self) -> AbstractChannel:
        async with self._opening:
            if self._channel is not None and not self._channel.is_closed:
                return self._channel
            await self.close()
            self._connection = await connect(self._url, self._name)
            self._channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
            return self._channel


async def connect(url: str, name: str) -> AbstractConnection:
    """A plain connection, which its user opens again: the robust one would also restore consumers
    whose deliveries are gone."""
    return await aio_pika.connect(url, timeout=10, client_properties={"connection_name": name}, heartbeat=10)


def is_about_the_message(error: BaseException) -> bool:
    """The broker will never take it: it is too large, for one."""
    return isinstance(error, ChannelPreconditionFailed)
