-- What this service knows of users, by their events: no more than it takes to write to them.
create table users (
  id    uuid primary key,
  name  text not null,
  email text not null
);

create table emails (
  id         uuid primary key,
  user_id    uuid not null,
  template   text not null,
  -- What it is about: the user, the order or the payment.
  reference  uuid not null,
  facts      jsonb not null,
  subject    text not null,
  -- Null while the user is not known yet: the e-mail waits.
  recipient  text,
  status     text not null check (status in ('pending', 'sent')),
  -- What the mail server said when it last refused this e-mail for good, and how often it has.
  refusal    text,
  refusals   integer not null default 0,
  created_at timestamptz not null,
  sent_at    timestamptz check ((status = 'sent') = (sent_at is not null)),
  constraint emails_one_of_a_kind unique (template, reference)
);
create index emails_of_user on emails (user_id, id);
