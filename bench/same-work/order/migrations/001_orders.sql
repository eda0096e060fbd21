-- The table of every system that does the same work: the peers' databases are made by this file, too.
create table orders (
  id           uuid primary key,
  user_id      uuid not null,
  product_name text not null,
  price        integer not null,
  currency     text not null,
  status       text not null,
  created_at   timestamptz not null default now()
);
