"""What the service is about: a user earns a point for each whole unit of a confirmed order."""

from warren_wire import Event, Work

from .contracts import POINTS_EARNED, OrderConfirmed, PointsEarned


async def earn(event: Event[OrderConfirmed], work: Work) -> None:
    """Adds the points of an order to the user's balance, and publishes both."""
    order = event.data
    points = int(order["price"])
    cursor = await work.connection.execute(
        "insert into earnings (order_id, user_id, points) values (%s, %s, %s) on conflict do nothing",
        (order["orderId"], order["userId"], points),
    )
    if cursor.rowcount == 0:
        return  # Another event has confirmed the same order.
    # The row of the balance is locked from here on, so the events of one user have one order.
    cursor = await work.connection.execute(
        "insert into balances as mine (user_id, points) values (%s, %s)"
        " on conflict (user_id) do update set points = mine.points + excluded.points"
        " returning points",
        (order["userId"], points),
    )
    (balance,) = await cursor.fetchone() or (points,)
    earned = PointsEarned(userId=order["userId"], orderId=order["orderId"], points=points, balance=balance)
    await work.emit(POINTS_EARNED, earned, aggregate=order["userId"])
