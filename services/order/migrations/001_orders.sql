create table users (
  user_id uuid primary key
);

comment on table users is 'the copy of who has signed up, fed by user.created';

create table orders (
  id           uuid primary key,
  user_id      uuid not null references users,
  product_name text not null,
  price        integer not null check (price between 0 and 999999999),
  currency     text not null check (currency in ('EUR', 'USD', 'GBP')),
  status       text not null check (status in ('pending', 'paid', 'cancelled')),
  reason       text,
  welcome      boolean not null,
  created_at   timestamptz not null,
  check ((status = 'cancelled') = (reason is not null))
);

comment on column orders.price is 'minor units';

create unique index orders_one_welcome on orders (user_id) where welcome;
create index orders_by_user on orders (user_id, created_at, id);
