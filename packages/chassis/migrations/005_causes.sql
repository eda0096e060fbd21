-- What caused a task: the id of the event that was handled when it was scheduled. Events that the task emits name it.
alter table warren.tasks add column causation_id text;
