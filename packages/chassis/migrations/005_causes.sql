-- What caused a task: the id of the event that was handled when it was scheduled. Events that the task emits name it.
alter table warren.tasks add column causation_id text;
-- Of an event that failed before it was handled: failed attempts, and the last of them with time, reason, error, instance and
-- version. Null for all others, so that a row does not grow.
alter table warren.inbox add column attempts smallint, add column failures jsonb;
