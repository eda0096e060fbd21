"""A service whose handler catches an SQL error and goes on."""

import contextlib
import sys
from unittest.mock import patch

import psycopg

from points import __main__ as service
from points.contracts import ORDER_CONFIRMED, OrderConfirmed
from warren_wire import Event, Service, Subscription, Work


async def handle(event: Event[OrderConfirmed], work: Work) -> None:  # noqa: ARG001
    with contextlib.suppress(psycopg.Error):
        await work.connection.execute("select 1 / 0")


if __name__ == "__main__":
    subscriptions = [Subscription(ORDER_CONFIRMED, handle)]
    planted = Service("points", "0.1.0", subscriptions, service.SERVICE.schema)
    with patch.object(service, "SERVICE", planted):
        sys.exit(service.main())
