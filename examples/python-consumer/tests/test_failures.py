"""What happens to events when something fails: nothing is lost, and nothing has a second effect."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg

from .conftest import Start
from .process import Process
from .proxy import Proxy
from .world import World, definitions, eventually, order_event

QUEUE = "points.order.confirmed"


async def refuse(world: World, order_id: str) -> None:
    """From now on the handler fails for this order."""
    await world.sql(f"alter table earnings add constraint planted check (order_id <> '{order_id}')")


@asynccontextmanager
async def held(world: World) -> AsyncIterator[None]:
    """Meanwhile each handler waits for a lock."""
    async with await psycopg.AsyncConnection.connect(world.database_url) as connection:
        await connection.execute("lock table earnings in exclusive mode")
        yield


async def waiting(world: World, count: int) -> None:
    """Until so many handlers wait for the lock."""

    async def check() -> None:
        query = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = %s"
        assert await world.sql(query, world.name) == [(count,)]

    await eventually(check)


async def test_retries_an_event_and_dead_letters_it_after_the_last_delay(world: World, start: Start) -> None:
    process = await start()
    others = await world.listen("#")
    event, neighbour = order_event(), order_event()
    await refuse(world, event["data"]["orderId"])
    await world.publish(event, headers={"custom": "kept"}, priority=3)
    await world.publish(neighbour)
    await world.has_earned(neighbour["data"]["orderId"])
    (message,) = await world.dead_letters(1)
    headers = message.headers
    assert json.loads(message.body) == event
    assert headers["x-warren-reason"] == "handler_failed"
    assert headers["x-warren-attempts"] == 3
    assert "planted" in str(headers["x-warren-error"])
    assert (headers["custom"], message.priority, message.expiration) == ("kept", 3, None)
    failures = headers["x-warren-failures"]
    assert isinstance(failures, list)
    assert [failure["reason"] for failure in failures] == ["handler_failed"] * 3  # type: ignore[index, call-overload]
    assert str(headers["x-warren-first-failed-at"]) < str(headers["x-warren-last-failed-at"])
    delays = [line["delay"] for line in process.logs if line["msg"].endswith("retrying later")]
    assert delays == ["200ms", "400ms"]
    # A retry comes back to its queue alone.
    assert [each.body for each in others].count(message.body) == 1
    assert await world.sql("select count(*) from warren.inbox") == [(1,)]


async def test_handles_an_event_whose_cause_of_failure_has_gone(world: World, start: Start) -> None:
    process = await start(RETRY_DELAYS="1s,1m")
    event = order_event()
    await refuse(world, event["data"]["orderId"])
    await world.publish(event)

    async def failed() -> None:
        assert any(line["msg"].endswith("retrying later") for line in process.logs)

    await eventually(failed)
    await world.sql("alter table earnings drop constraint planted")
    await world.has_earned(event["data"]["orderId"])


async def test_a_crash_in_the_middle_loses_and_doubles_nothing(world: World, start: Start) -> None:
    process = await start()
    published = await world.listen("points.#")
    events = [order_event(price=5) for _ in range(20)]
    async with held(world):
        for event in events:
            await world.publish(event)
        await waiting(world, 10)
        await process.kill()
    await process.start()
    await world.has_earned(*(event["data"]["orderId"] for event in events))

    async def check() -> None:
        ids = {json.loads(message.body)["causationid"] for message in published}
        assert ids == {event["id"] for event in events}

    await eventually(check)
    assert await world.sql("select sum(points)::int from balances") == [(100,)]


async def test_an_event_that_ends_its_process_takes_no_other_with_it(world: World, start: Start) -> None:
    events = [order_event(price=index + 1) for index in range(12)]
    killer = order_event(price=666)
    # Declares the queue, so that all wait for the first process that meets the killer.
    await (await start()).kill()
    for event in [*events[:6], killer, *events[6:]]:
        await world.publish(event)
    process = Process(world, "tests.crashing")
    ends = 0

    async def supervise() -> None:
        nonlocal ends
        while True:
            await process.start()
            await process.ended()
            ends += 1

    supervisor = asyncio.create_task(supervise())
    (message,) = await world.dead_letters(1, within=60)
    await world.has_earned(*(event["data"]["orderId"] for event in events))
    supervisor.cancel()
    await process.kill()
    assert json.loads(message.body)["id"] == killer["id"]
    # Ten deliveries that are allowed, and one more.
    assert ends == 11


async def test_retries_an_event_whose_handler_swallows_an_sql_error(world: World, start: Start) -> None:
    await start("tests.swallowing")
    event = order_event()
    await world.publish(event)
    (message,) = await world.dead_letters(1)
    assert message.headers["x-warren-reason"] == "handler_failed"
    assert await world.sql("select count(*) from warren.inbox") == [(0,)]


async def test_writes_no_password_of_an_error_into_a_dead_letter(world: World, start: Start) -> None:
    await start("tests.leaking", RETRY_DELAYS="100ms")
    await world.publish(order_event())
    (message,) = await world.dead_letters(1)
    assert message.headers["x-warren-error"] == "RuntimeError: cannot reach postgres://points:***@db/points"
    assert "secret" not in str(message.headers)


async def test_finishes_what_is_in_flight_at_sigterm_and_takes_nothing_more(
    world: World, start: Start
) -> None:
    process = await start()
    published = await world.listen("points.#")
    events = [order_event() for _ in range(25)]
    async with held(world):
        for event in events:
            await world.publish(event)
        await waiting(world, 10)
        process.send(signal.SIGTERM)

        async def is_draining() -> None:
            assert await process.readiness() == 503

        await eventually(is_draining)
    assert await process.ended() == 0
    done = await world.sql("select count(*)::int from earnings")
    assert done == [(10,)]
    assert await world.sql("select count(*) from warren.outbox") == [(0,)]

    async def check() -> None:
        assert len(published) == 10

    await eventually(check)
    left = await world.messages(QUEUE)
    assert [message.redelivered for message in left] == [False] * 15


async def test_events_wait_in_the_broker_while_the_database_is_unavailable(
    world: World, start: Start
) -> None:
    proxy = Proxy(world.database_url)
    await proxy.start()
    process = await start(DATABASE_URL=proxy.url)
    await proxy.cut()
    events = [order_event() for _ in range(30)]
    for event in events:
        await world.publish(event)

    async def suspended() -> None:
        assert any("events wait in the broker" in line["msg"] for line in process.logs)
        assert await world.depth(QUEUE) == 30

    await eventually(suspended)
    assert await process.readiness() == 200
    await proxy.start()
    await world.has_earned(*(event["data"]["orderId"] for event in events))
    assert not [line for line in process.logs if line["msg"].endswith("retrying later")]
    assert await world.messages(f"{QUEUE}.dlq") == []
    await proxy.cut()


async def test_what_is_committed_is_published_when_the_broker_is_available_again(
    world: World, start: Start
) -> None:
    proxy = Proxy(world.url("points"))
    await proxy.start()
    process = await start(AMQP_URL=proxy.url)
    published = await world.listen("points.#")
    events = [order_event() for _ in range(10)]
    async with held(world):
        for event in events:
            await world.publish(event)
        await waiting(world, 10)
        await proxy.cut()
    # The handlers commit, or are done again: the broker has their messages.
    late = [order_event() for _ in range(10)]
    for event in late:
        await world.publish(event)
    assert await process.readiness() == 200
    await proxy.start()
    await world.has_earned(*(event["data"]["orderId"] for event in events + late))

    async def check() -> None:
        causes = [json.loads(message.body)["causationid"] for message in published]
        assert set(causes) == {event["id"] for event in events + late}
        assert await world.sql("select count(*) from warren.outbox") == [(0,)]

    await eventually(check)
    assert await world.sql("select count(*) from earnings") == [(20,)]
    await proxy.cut()


async def test_subscribes_again_when_its_queue_was_deleted(world: World, start: Start) -> None:
    await start()
    await world.api("DELETE", f"queues/{world.name}/{QUEUE}")

    async def is_back() -> None:
        bindings = await world.api("GET", f"bindings/{world.name}")
        assert any(each["destination"] == QUEUE and each["source"] == "events" for each in bindings)

    await eventually(is_back)
    event = order_event()
    await world.publish(event)
    await world.has_earned(event["data"]["orderId"])


async def test_a_second_replica_relays_when_the_first_one_dies(world: World, start: Start) -> None:
    first = await start()
    await start()
    published = await world.listen("points.#")
    event = order_event()
    await first.kill()
    await world.publish(event)

    async def check() -> None:
        assert [json.loads(each.body)["causationid"] for each in published] == [event["id"]]

    await eventually(check)


async def test_says_what_is_missing_when_the_broker_refuses_its_queues(world: World) -> None:
    granted = definitions()
    events = {"user": "points", "exchange": "events", "write": "^points\\.", "read": "^$"}
    await world.make_user("points", {**granted, "topic_permissions": [events]})
    process = Process(world)
    await process.start()

    async def is_refused() -> None:
        status, text = await process.reason()
        assert status == 503
        assert "the broker refused the queues of this service" in text
        assert "order.confirmed.v1" in text
        assert "import the definitions" in text

    await eventually(is_refused)
    await world.make_user("points", granted)
    await process.kill()
    await process.start()
    await process.ready()
    warnings = [line for line in process.logs if line["level"] == "warn"]
    assert len(warnings) == 1
    await process.kill()
