"""What the service does with the events it consumes, and what it publishes."""

import base64
import json
from typing import Any
from uuid import uuid4

import pytest

from .conftest import Start
from .world import World, eventually, order_event


async def test_adds_the_points_of_an_order_and_publishes_them(world: World, start: Start) -> None:
    await start()
    published = await world.listen("points.#")
    event = {
        **order_event(price=19.99),
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    await world.publish(event)

    async def check() -> None:
        assert len(published) == 1

    await eventually(check)
    (message,) = published
    envelope = json.loads(message.body)
    data = event["data"]
    assert envelope["data"] == {
        "userId": data["userId"],
        "orderId": data["orderId"],
        "points": 19,
        "balance": 19,
    }
    assert envelope["causationid"] == event["id"]
    assert envelope["correlationid"] == event["correlationid"] == message.correlation_id
    assert envelope["subject"] == data["userId"]
    assert envelope["source"] == "/points"
    assert envelope["dataschema"] == "urn:warren:points.earned:v1"
    assert envelope["traceparent"] == event["traceparent"] == message.headers["traceparent"]
    assert (message.message_id, message.type) == (envelope["id"], "points.earned")
    assert (message.user_id, message.app_id) == (f"{world.name}.points", "points")
    assert (message.delivery_mode, message.content_type) == (2, "application/cloudevents+json")
    assert message.timestamp is not None


async def test_a_duplicate_has_no_second_effect(world: World, start: Start) -> None:
    process = await start()
    published = await world.listen("points.#")
    event = order_event(price=10)
    for _ in range(5):
        await world.publish(event)
    last = order_event(userId=event["data"]["userId"], price=1)
    await world.publish(last)
    await world.has_earned(last["data"]["orderId"])

    async def check() -> None:
        assert await world.depth("points.order.confirmed") == 0
        assert len(published) == 2

    await eventually(check)
    assert await world.sql("select points from balances") == [(11,)]
    assert await world.sql("select count(*) from warren.outbox") == [(0,)]
    outcomes = sorted(line["outcome"] for line in process.logs if line["msg"] == "event")
    assert outcomes == ["duplicate"] * 4 + ["handled"] * 2


async def test_an_order_that_is_confirmed_by_two_events_earns_once(world: World, start: Start) -> None:
    await start()
    event = order_event(price=10)
    await world.publish(event)
    await world.publish({**order_event(**event["data"])})

    async def check() -> None:
        assert await world.sql("select count(*) from warren.inbox") == [(2,)]

    await eventually(check)
    assert await world.sql("select points from balances") == [(10,)]
    assert await world.messages("points.order.confirmed.dlq") == []


async def test_events_of_one_user_are_published_in_the_order_of_their_commits(
    world: World, start: Start
) -> None:
    await start()
    published = await world.listen("points.#")
    users = [str(uuid4()) for _ in range(3)]
    for number in range(60):
        await world.publish(order_event(userId=users[number % 3], price=1))

    async def check() -> None:
        assert len(published) == 60

    await eventually(check)
    for user in users:
        events = [json.loads(message.body) for message in published]
        balances = [event["data"]["balance"] for event in events if event["subject"] == user]
        assert balances == list(range(1, 21))


VARIANTS: dict[str, dict[str, Any]] = {
    "a null attribute": {"subject": None, "causationid": None, "traceparent": None},
    "an empty correlation id": {"correlationid": ""},
    "a charset": {"datacontenttype": "application/json; charset=utf-8"},
    "a JSON subtype in capitals": {"datacontenttype": "Application/VND.shop+JSON"},
    "a time in another zone": {"time": "2199-06-01t12:00:00.123456789+02:00"},
    "an extension": {"partitionkey": "7", "sampledrate": 1},
    "an id that is not a UUID": {"id": "order/7 ✓"},
    "a traceparent that is too long": {"traceparent": "0" * 300},
}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())
async def test_accepts_what_cloudevents_allows(variant: dict[str, Any], world: World, start: Start) -> None:
    await start()
    event = {**order_event(), **variant}
    await world.publish(event)
    await world.publish(event)
    await world.has_earned(event["data"]["orderId"])
    assert await world.messages("points.order.confirmed.dlq") == []


async def test_accepts_an_event_with_the_required_attributes_alone(world: World, start: Start) -> None:
    await start()
    event = order_event()
    least = {name: event[name] for name in ("specversion", "id", "source", "type", "data")}
    await world.publish(b"\xef\xbb\xbf" + json.dumps(least).encode(), content_type=None, message_id=None)
    await world.has_earned(event["data"]["orderId"])


async def test_accepts_data_in_base64_and_ignores_fields_that_it_does_not_know(
    world: World, start: Start
) -> None:
    await start()
    event = order_event(giftWrap={"colour": "red"})
    data = event.pop("data")
    event["data_base64"] = base64.b64encode(json.dumps(data).encode()).decode()
    await world.publish(event)
    await world.has_earned(data["orderId"])


def poison() -> dict[str, tuple[str, bytes]]:
    """Messages that no retry can help, with the reason of each."""

    def changed(**attributes: Any) -> bytes:
        return json.dumps({**order_event(), **attributes}).encode()

    def without(name: str) -> bytes:
        return json.dumps({key: value for key, value in order_event().items() if key != name}).encode()

    return {
        "bytes that are not UTF-8": ("not_json", b"\xff\xfe{}"),
        "half a JSON text": ("not_json", b" \n" + changed()[:-1] + b"\r\n"),
        "NaN": ("not_json", changed().replace(b"12.5", b"NaN")),
        "a JSON array": ("not_cloudevent", b"[]"),
        "a missing type": ("not_cloudevent", without("type")),
        "another version of CloudEvents": ("not_cloudevent", changed(specversion="0.3")),
        "an id that is a number": ("invalid_attribute", changed(id=7)),
        "an empty source": ("invalid_attribute", changed(source="")),
        "a time that is not one": ("invalid_attribute", changed(time="2026-02-30T00:00:00Z")),
        "another type": ("unknown_type", changed(type="order.created")),
        "another version": ("unknown_version", changed(dataschema="urn:warren:order.confirmed:v9")),
        "a price with three decimals": ("invalid_data", changed(data=order_event(price=1.001)["data"])),
        "a price that is a text": ("invalid_data", changed(data=order_event(price="1")["data"])),
        "a currency that is not known": ("invalid_data", changed(data=order_event(currency="XXX")["data"])),
        "missing data": ("invalid_data", without("data")),
        "data that are not JSON": ("invalid_data", changed(datacontenttype="text/plain")),
        "an event older than the inbox": ("expired", changed(time="2020-01-01T00:00:00Z")),
    }


async def test_dead_letters_what_is_invalid_and_handles_its_neighbours(world: World, start: Start) -> None:
    await start()
    neighbours = []
    cases = poison()
    for _, body in cases.values():
        neighbour = order_event()
        neighbours.append(neighbour["data"]["orderId"])
        await world.publish(body, type="order.confirmed", headers={"custom": "kept"})
        await world.publish(neighbour)
    await world.has_earned(*neighbours)
    dead = {message.body: message for message in await world.dead_letters(len(cases))}
    for name, (reason, body) in cases.items():
        message = dead[body]
        assert message.headers["x-warren-reason"] == reason, name
        assert message.headers["x-warren-attempts"] == 1
        assert message.headers["x-warren-queue"] == "points.order.confirmed"
        assert message.headers["x-warren-exchange"] == "events"
        assert message.headers["x-warren-routing-key"] == "order.confirmed.v1"
        assert message.headers["custom"] == "kept"
        assert message.headers["x-warren-first-failed-at"] == message.headers["x-warren-last-failed-at"]
        assert (message.user_id, message.type) == (f"{world.name}.points", "order.confirmed")


async def test_refuses_an_event_of_another_producer(world: World, start: Start) -> None:
    await start()
    granted = {
        "permissions": [{"user": "mallory", "configure": "^$", "write": "^events$", "read": "^$"}],
        "topic_permissions": [{"user": "mallory", "exchange": "events", "write": ".*", "read": "^$"}],
    }
    await world.make_user("mallory", granted)
    forged, unsigned, real = order_event(), order_event(), order_event()
    await world.publish(forged, as_service="mallory")
    await world.publish(unsigned, user_id=None)
    await world.publish(real)
    await world.has_earned(real["data"]["orderId"])
    dead = await world.dead_letters(2)
    assert [message.headers["x-warren-reason"] for message in dead] == ["forged", "forged"]
    assert await world.sql("select count(*) from earnings") == [(1,)]
