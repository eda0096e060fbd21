-- Keys from before UTS #46 may be stale. A worker recomputes them, an hour later: replicas that still compare keys of that form
-- have been replaced by then. A database without accounts has no such keys.
insert into warren.tasks (kind, key, due_at, correlation_id)
select 'user.email-keys', 'all', now() + interval '1 hour', 'migration user/002'
where exists (select from users);

comment on column users.email_key is
  'the address as addresses are compared: its local part in lower case, its domain in ASCII (UTS #46)';
