-- Events whose routing key is held back: a queue that is bound to it rejects what is published. The mark outlives the process,
-- so that the next relay does not publish all of them again. A version that does not know it publishes them as any other.
alter table warren.outbox add column held_at timestamptz;
create index outbox_waiting on warren.outbox (aggregate, id) where parked_at is not null or held_at is not null;
create index outbox_held on warren.outbox (routing_key, id) where held_at is not null;
