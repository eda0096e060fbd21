create table if not exists balances (
  user_id uuid primary key,
  points  bigint not null
);

create table if not exists earnings (
  order_id uuid primary key,
  user_id  uuid not null,
  points   bigint not null
);
