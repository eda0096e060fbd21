-- An e-mail that will not be sent. Rows from before satisfy the narrower check, so the table is not read under the lock.
alter table emails drop constraint emails_status_check;
alter table emails add constraint emails_status_check check (status in ('pending', 'sent', 'failed')) not valid;
