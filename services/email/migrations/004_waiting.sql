-- Why an e-mail waits. A file of its own: a migration that alters two tables may wait for a transaction that waits for it.
alter table emails
  -- Waits until its address is confirmed; where its status is failed, it waited in vain.
  add column unconfirmed boolean not null default false,
  -- When EMAILS_PER_HOUR lets it go. Null while it waits, and of a version that does not know the column.
  add column slot_at timestamptz;
