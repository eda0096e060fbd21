-- What warren_wire keeps in the database of a service.
create schema if not exists warren;

-- Events whose effect is in this database.
create table if not exists warren.inbox (
  consumer    text not null,
  event_id    uuid not null,
  received_at timestamptz not null default now(),
  primary key (consumer, event_id)
);
create index if not exists inbox_received_at on warren.inbox using brin (received_at);

-- Events that were committed and are not yet confirmed by the broker.
create table if not exists warren.outbox (
  id             bigint generated always as identity primary key,
  event_id       uuid not null,
  type           text not null,
  routing_key    text not null,
  aggregate      text not null,
  body           text not null,
  correlation_id text not null,
  traceparent    text,
  created_at     timestamptz not null default clock_timestamp()
);
create index if not exists outbox_aggregate on warren.outbox (aggregate, id);
