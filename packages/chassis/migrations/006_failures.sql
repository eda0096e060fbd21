-- Of an event that failed before it was handled: failed attempts, and the last of them with time, reason, error, instance and
-- version. Null for all others, so that a row does not grow. The fifth migration was once both; transactions that lock the inbox
-- and then the tasks would have waited for it, and it for them.
alter table warren.inbox add column if not exists attempts smallint, add column if not exists failures jsonb;
