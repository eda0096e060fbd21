-- Events to publish, in the order of their ids. Without it, each read and each count steps over all parked events: a million of
-- them made an order cost three times as much. The outbox is small while the relay works, so this takes no time; ascending ids
-- make it the cheapest of indexes to keep.
create index outbox_pending on warren.outbox (id) where parked_at is null;
