-- Answers that were given under an Idempotency-Key, each written in the transaction of its effect. While that
-- transaction runs, its row makes a repeat elsewhere wait; outside it, a row without an answer is never seen.
create table warren.idempotency_keys (
  route      text not null,
  key        text not null,
  digest     bytea not null,
  status     smallint,
  headers    jsonb,
  body       text,
  created_at timestamptz not null default now(),
  primary key (route, key)
) with (fillfactor = 80);
create index idempotency_keys_created_at on warren.idempotency_keys using brin (created_at);
