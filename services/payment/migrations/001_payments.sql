create table payments (
  id             uuid primary key,
  order_id       uuid not null constraint payments_one_per_order unique,
  user_id        uuid not null,
  amount         integer not null check (amount >= 0),
  currency       text not null,
  status         text not null check (status in ('pending', 'processed', 'failed', 'refunded', 'void')),
  decline_reason text,
  cancel_reason  text,
  created_at     timestamptz not null,
  check ((status = 'failed') = (decline_reason is not null)),
  check (status not in ('refunded', 'void') or cancel_reason is not null)
);
create index payments_of_user on payments (user_id, id);
