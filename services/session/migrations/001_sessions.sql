create table sessions (
  id         uuid primary key,
  user_id    uuid not null constraint sessions_one_per_sign_up unique,
  status     text not null check (status in ('active', 'revoked', 'expired')),
  opened_at  timestamptz not null,
  expires_at timestamptz not null
);
