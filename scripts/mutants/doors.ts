// Faults in the doors of the outbox: what an application that is not a Warren service relies on.
import type { Mutant } from './mutant.ts';

const src = 'packages/chassis/src';
const doors = { suite: 'e2e/doors', tests: ['test/adapters.test.ts'] };
const outbox = { ...doors, file: `${src}/doors/outbox.ts` };

export const doorsOfTheOutbox: Mutant[] = [
  {
    ...outbox,
    name: 'an event is emitted outside a transaction',
    find: 'if (!isKnownOpen(handle)) await query(CHECK_TRANSACTION, []);',
    replace: '',
    title: 'refuses a handle that is in no transaction',
  },
  {
    ...doors,
    file: `${src}/doors/transactions.ts`,
    name: 'a handle counts as open after its transaction',
    find: 'open.delete(known);',
    replace: '',
    title: 'refuses a handle whose transaction has ended',
  },
  {
    ...doors,
    file: `${src}/doors/events.ts`,
    name: 'several events are written in any order',
    find: 'order by n`',
    replace: 'order by md5(event_id::text)`',
    title: 'writes many events by one statement, in their order',
  },
  {
    ...outbox,
    name: 'the relay is woken although nothing was emitted',
    find: 'if (written > before) relay?.wake();',
    replace: 'relay?.wake();',
    title: 'rolls both back',
  },
  {
    ...outbox,
    name: 'the relay is not woken after the commit',
    find: 'if (written > before) relay?.wake();',
    replace: '',
    title: 'wakes the relay',
  },
  {
    ...doors,
    file: `${src}/doors/adapters/knex.ts`,
    name: 'Knex takes question marks of an event for bindings',
    find: "part.replaceAll('?', '\\\\?')",
    replace: 'part',
    title: 'returns the rows that a statement returns',
  },
  {
    ...doors,
    file: `${src}/doors/adapters/pg.ts`,
    name: 'the pg adapter commits a transaction that has failed',
    find: "await client.query('rollback', [])",
    replace: "await client.query('commit', [])",
    title: 'the adapter of pg rolls both back',
  },
  {
    suite: 'e2e/doors',
    tests: ['test/relay.test.ts'],
    file: `${src}/doors/relay.ts`,
    name: 'a stop of an application loses the time to publish',
    find: 'await relay.stop(timeout);',
    replace: 'await relay.stop(0);',
    title: 'publishes what is there before it stops',
  },
  {
    suite: 'e2e/doors',
    tests: ['test/migrations.test.ts'],
    file: `${src}/database/migrate.ts`,
    name: 'migrations as SQL leave no trace for migrate()',
    find: 'insert into warren.migrations (set, name) values (${values});`',
    replace: '`',
    title: 'make the same tables as SQL',
  },
];
