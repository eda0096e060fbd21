-- What failed and waits for its next attempt is counted all the time; it is little, beside what is not due yet.
create index tasks_failed on warren.tasks (kind) where last_error is not null;
