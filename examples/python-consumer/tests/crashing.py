"""A service whose handler ends the process at one price."""

import os
import sys
from unittest.mock import patch

from points import __main__ as service
from points.contracts import ORDER_CONFIRMED, OrderConfirmed
from points.points import earn
from warren_wire import Event, Service, Subscription, Work


async def handle(event: Event[OrderConfirmed], work: Work) -> None:
    if event.data["price"] == 666:
        os._exit(3)
    await earn(event, work)


if __name__ == "__main__":
    subscriptions = [Subscription(ORDER_CONFIRMED, handle)]
    planted = Service("points", "0.1.0", subscriptions, service.SERVICE.schema)
    with patch.object(service, "SERVICE", planted):
        sys.exit(service.main())
