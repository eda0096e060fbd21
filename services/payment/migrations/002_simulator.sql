-- The books of the payment provider that the simulator stands in for. No rule of this service reads them: what a real provider
-- knows is on its side.
create schema simulator;

create table simulator.books (
  key       text primary key,
  kind      text not null check (kind in ('charge', 'refund')),
  reference text not null,
  amount    integer not null check (amount >= 0),
  currency  text not null,
  outcome   text not null check (outcome in ('accepted', 'declined')),
  reason    text,
  charge    text references simulator.books (key),
  -- How often this was asked for; its effect is one.
  requests  integer not null default 1,
  booked_at timestamptz not null default clock_timestamp(),
  check ((kind = 'refund') = (charge is not null)),
  check ((outcome = 'declined') = (reason is not null))
);
create unique index books_one_refund_per_charge on simulator.books (charge);
create index books_by_reference on simulator.books (reference);
