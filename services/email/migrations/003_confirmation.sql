-- Addresses are confirmed before they get more than a confirmation, where EMAIL_CONFIRMATION is on. Those from before, and those
-- of a version that does not know the column, count as confirmed.
alter table users add column confirmed_at timestamptz default now();

-- The last slots of an address, oldest first: as many as EMAILS_PER_HOUR.
create table recipients (
  -- In lower case.
  address text primary key,
  slots   timestamptz[] not null default '{}'
) with (fillfactor = 80);

-- Gives an address its next slots, in order: each at once where fewer than per_hour lie in the hour before it, else when that hour
-- is over. Whoever takes slots of one address takes turns, until the end of the transaction.
create function take_slots(recipient text, wanted integer, per_hour integer, at timestamptz) returns timestamptz[]
language plpgsql as $$
declare
  taken timestamptz[];
  kept  timestamptz[];
begin
  loop
    select slots into taken from recipients where address = recipient for update;
    taken := coalesce(taken, '{}');
    for place in 1..wanted loop
      taken := taken || greatest(at, taken[cardinality(taken)], taken[cardinality(taken) - per_hour + 1] + interval '1 hour');
    end loop;
    kept := taken[greatest(1, cardinality(taken) - per_hour + 1):];
    update recipients set slots = kept where address = recipient;
    exit when found;
    insert into recipients (address, slots) values (recipient, kept) on conflict do nothing;
    exit when found;
  end loop;
  return taken[cardinality(taken) - wanted + 1:];
end $$;
