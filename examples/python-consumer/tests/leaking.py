"""A service whose handler fails with an error that has a password in it."""

import sys
from unittest.mock import patch

from points import __main__ as service
from points.contracts import ORDER_CONFIRMED, OrderConfirmed
from warren_wire import Event, Service, Subscription, Work


async def handle(event: Event[OrderConfirmed], work: Work) -> None:  # noqa: ARG001
    raise RuntimeError("cannot reach postgres://points:secret@db/points")


if __name__ == "__main__":
    subscriptions = [Subscription(ORDER_CONFIRMED, handle)]
    planted = Service("points", "0.1.0", subscriptions, service.SERVICE.schema)
    with patch.object(service, "SERVICE", planted):
        sys.exit(service.main())
