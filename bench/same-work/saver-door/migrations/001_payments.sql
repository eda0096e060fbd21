-- The table of every system that does the same work. Nothing in it refuses a second payment for one order: the accounting after
-- each run must be able to find one.
create table payments (
  id         uuid primary key,
  order_id   uuid not null,
  user_id    uuid not null,
  amount     integer not null,
  currency   text not null,
  status     text not null,
  created_at timestamptz not null default now()
);
create index payments_by_order on payments (order_id);
