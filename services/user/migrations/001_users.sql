create table users (
  id         uuid primary key,
  name       text not null,
  email      text not null,
  email_key  text not null constraint users_email_taken unique,
  created_at timestamptz not null
);

comment on column users.email_key is 'the address in lower case: two that differ in case alone are one';
