-- What the chassis keeps in a service's database. The schema warren itself is made by the migrator.

-- Events that were committed and are not yet confirmed by the broker. A row lives for milliseconds:
-- autovacuum must follow closely, and nothing but the primary key may slow the insert.
create table warren.outbox (
  id            bigint generated always as identity primary key,
  event_id      uuid not null,
  type          text not null,
  routing_key   text not null,
  aggregate     text not null,
  body          text not null,
  correlation_id text not null,
  traceparent   text,
  created_at    timestamptz not null default clock_timestamp(),
  parked_at     timestamptz,
  parked_reason text
) with (
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 2000,
  autovacuum_vacuum_insert_scale_factor = 0.2,
  autovacuum_vacuum_cost_delay = 0
);
create index outbox_parked on warren.outbox (aggregate) where parked_at is not null;

-- Events whose effect is in this database.
create table warren.inbox (
  consumer    text not null,
  message_id  uuid not null,
  received_at timestamptz not null default now(),
  primary key (consumer, message_id)
);
create index inbox_received_at on warren.inbox using brin (received_at);

-- Effects outside that are still to be done. due_at is also the lease: a claimed row is due again when its lease ends.
create table warren.tasks (
  id             bigint generated always as identity primary key,
  kind           text not null,
  key            text not null,
  data           jsonb not null default '{}',
  due_at         timestamptz not null default now(),
  attempts       integer not null default 0,
  lease          uuid,
  last_error     text,
  correlation_id text not null,
  traceparent    text,
  created_at     timestamptz not null default now(),
  unique (kind, key)
) with (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
create index tasks_due on warren.tasks (kind, due_at);

-- Work queues that have been declared at least once: from then on they hold what this service has not yet heard.
create table warren.queues (
  name        text primary key,
  declared_at timestamptz not null default now()
);
