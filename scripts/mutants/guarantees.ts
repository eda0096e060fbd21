// Faults in the chassis, each of which breaks a guarantee: nothing is lost, nothing has its effect twice, order is kept, a stop
// loses nothing. Those of the checks and tools are planted by e2e/tooling.
import type { Mutant } from './mutant.ts';

const chassis = { suite: 'packages/chassis' };
const src = 'packages/chassis/src';
const inbox = { ...chassis, tests: ['test/inbox.test.ts'] };
const batches = { ...chassis, tests: ['test/batches.test.ts'] };
const flow = { ...chassis, tests: ['test/flow.test.ts'] };
const relay = { ...chassis, file: `${src}/outbox/relay.ts`, tests: ['test/relay.alone.test.ts'] };
const failedMessages = { ...flow, file: `${src}/messaging/failed-message-publisher.ts` };
const worker = { ...chassis, file: `${src}/tasks/runner.ts`, tests: ['test/worker.test.ts'] };
const idempotency = {
  ...chassis,
  file: `${src}/http/idempotency.ts`,
  tests: ['test/idempotency.test.ts'],
};
const auth = { ...chassis, tests: ['test/auth.test.ts'] };
const rpcAuth = { ...chassis, file: `${src}/rpc/server.ts`, tests: ['test/rpc-auth.test.ts'] };
const termination = { suite: 'e2e/faults', tests: ['test/termination.test.ts'] };

export const guarantees: Mutant[] = [
  // --- migrations ---
  {
    ...chassis,
    file: `${src}/database/migrate.ts`,
    name: 'a migration that cannot have a lock in time fails',
    find: "if (LOCKED.includes((cause as { code?: string }).code ?? '')) return false;",
    replace: '',
    tests: ['test/migrate.test.ts'],
    title: 'give way to a transaction',
  },

  // --- authentication and authorisation ---
  {
    ...auth,
    file: `${src}/auth/keys.ts`,
    name: 'a key that the issuer has withdrawn is accepted for good',
    find: 'if (now < this.#dueAt) return undefined;',
    replace: 'if (this.available || now < this.#dueAt) return undefined;',
    title: 'ends with its key',
  },
  {
    ...auth,
    file: `${src}/auth/keys.ts`,
    name: 'a token with an invented key id calls the issuer each time',
    find: 'this.#unknownUntil = this.#now() + UNKNOWN_KEY_COOLDOWN_MS;',
    replace: '',
    title: 'for an invented one only now and then',
  },
  {
    ...auth,
    file: `${src}/auth/verify.ts`,
    name: 'the kept result of a token outlives it',
    find: ' && now().getTime() < known.until)',
    replace: ')',
    title: 'ends with its token',
  },
  {
    ...auth,
    file: `${src}/auth/verify.ts`,
    name: 'a token for another audience is accepted',
    find: '          audience,\n          algorithms',
    replace: '          algorithms',
    title: 'every kind of invalid token',
  },
  {
    ...auth,
    file: `${src}/auth/access.ts`,
    name: "an operator changes another's data",
    find: "if (deed === 'read' && caller.kind === 'operator') return;",
    replace: "if (caller.kind === 'operator') return;",
    title: 'nobody change what is another',
  },
  {
    ...auth,
    file: `${src}/http/route-handler.ts`,
    name: 'a route that does not name the owner answers',
    find: "if (route.access === 'own' && ownership.owners === undefined && response.status < 400)",
    replace: 'if (false)',
    title: 'does not name the owner',
  },
  {
    ...idempotency,
    name: "a user gets another's stored answer by its key",
    find: 'subject === undefined ? path : `${path} ${subject}`;',
    replace: 'subject === undefined ? path : path;',
    title: 'belongs to who sent it',
  },
  {
    ...rpcAuth,
    name: 'every service is believed for whom it asks',
    find: 'from === auth.gateway ? callerIn(message) : SERVICE;',
    replace: 'from !== auth.gateway ? callerIn(message) : callerIn(message);',
    title: 'in that service',
  },
  {
    ...rpcAuth,
    name: 'a sender for whom nobody vouches is believed',
    find: 'if (!producers.isFrom(message, from))',
    replace: 'if (from === "nobody")',
    title: 'when the broker does not prove its sender',
  },
  // --- outbox and relay ---
  {
    ...chassis,
    file: `${src}/units-of-work.ts`,
    name: 'an event is not written to the outbox',
    find: '...(this.events.length > 0 ? [insert(this.events)] : []), ',
    replace: '',
    tests: ['test/outbox.test.ts'],
  },
  {
    ...relay,
    name: 'two relays publish at once: the advisory lock is ignored',
    find: 'if (rows[0].locked) return true;',
    replace: 'if (rows.length > 0) return true;',
    title: 'leaves the relaying to one',
  },
  {
    ...relay,
    file: `${src}/outbox/publishing.ts`,
    name: 'the relay deletes an event that is not confirmed',
    find: 'this.#inFlight.set(row.id, row);\n',
    replace: 'this.#inFlight.set(row.id, row);\n    this.#confirmed.push(row.id);\n',
    tests: ['test/relay-faults.test.ts'],
    title: 'loses none when the broker is killed',
  },
  {
    ...relay,
    file: `${src}/outbox/reader.ts`,
    name: 'a relay that has lost its database goes on publishing',
    find: 'this.publisher?.destroy();',
    replace: '',
    title: 'cuts its connection to the broker in the same moment',
  },
  {
    ...relay,
    file: `${src}/messaging/publisher.ts`,
    name: 'a publish counts as confirmed as soon as it is sent',
    find: 'this.#full ||= !room;',
    replace: 'this.#full ||= !room;\n      settle();',
    title: 'parks it with the reason',
  },
  {
    ...chassis,
    file: `${src}/messaging/publisher.ts`,
    name: 'a message that no queue took counts as confirmed',
    find: "settle(new PublishError('returned'",
    replace: "void settle, void (new PublishError('returned'",
    tests: ['test/missing-topology.test.ts'],
    title: 'finds its binding declared again',
  },

  // --- inbox, consumer, retries ---
  {
    ...inbox,
    file: `${src}/inbox/inbox.ts`,
    name: 'the inbox takes every message for a new one',
    find: 'on conflict do nothing returning message_id',
    replace: 'on conflict (consumer, message_id) do update set attempts = null returning message_id',
    title: 'lets a message have its effect once',
  },
  {
    ...inbox,
    file: `${src}/messaging/batch.ts`,
    name: 'a consumer handles an event without the inbox check',
    find: 'return [...handled];',
    replace: 'return pieces;',
    title: '1,000 deliveries of one event one effect',
  },
  {
    ...chassis,
    file: `${src}/messaging/consumer.ts`,
    name: 'a consumer acknowledges an event before its transaction commits',
    find: 'const handled = await this.#transactions.run([piece], this.#options.timeout);',
    replace:
      'this.#acknowledge([piece.arrival]);\n      const handled = await this.#transactions.run([piece], this.#options.timeout);',
    tests: ['test/returned-deliveries.test.ts'],
    title: 'an event that ends every process that handles it',
  },
  {
    ...failedMessages,
    name: 'failed attempts are not counted',
    find: '[HEADERS.attempts]: attemptsOf(message) + 1,',
    replace: '[HEADERS.attempts]: attemptsOf(message),',
    title: 'ends in the dead-letter queue, byte for byte',
  },
  {
    ...failedMessages,
    name: 'a dead letter does not say why',
    find: '[HEADERS.reason]: failure.reason,',
    replace: '',
    title: 'ends in the dead-letter queue, byte for byte',
  },
  {
    ...failedMessages,
    name: 'a retry does not come back to its queue',
    find: 'CC: [queue],',
    replace: 'CC: [],',
    title: 'climbs the retry ladder when handling fails',
  },
  {
    ...failedMessages,
    name: 'a retry that misses its exchange waits for the next check of the topology',
    find: "if (error?.reason === 'returned' || error?.code === NOT_FOUND) this.#options.onMissing();",
    replace: '',
    tests: ['test/missing-topology.test.ts'],
    title: 'finds its exchange declared again',
  },
  {
    ...chassis,
    file: `${src}/messaging/judge.ts`,
    name: 'an event older than the inbox remembers is handled',
    find: 'if (!(Date.parse(event.time) >= now().getTime() - retention))',
    replace: 'if (!(Date.parse(event.time) >= now().getTime() - 1_000 * retention))',
    tests: ['test/poison.test.ts'],
  },

  // --- batches ---
  {
    ...batches,
    file: `${src}/units-of-work.ts`,
    name: 'events of one key in one batch are handled at once',
    find: 'Map.groupBy(chosen, ({ key }) => key)',
    replace: 'Map.groupBy(chosen, (piece) => `${piece.key} ${Math.random()}`)',
    title: 'one after the other',
  },
  {
    ...batches,
    file: `${src}/units-of-work.ts`,
    name: 'an event that was handled before has its effect again when its batch is optimistic',
    find: 'if ((await choosing).length < chosen.length) throw new FewerChosen();',
    replace: 'await choosing;',
    title: 'run again without those that were not chosen',
  },
  {
    suite: 'packages/events',
    tests: ['test/recognize.test.ts'],
    file: 'packages/events/src/recognize.ts',
    name: 'an id in upper case is recognized as one in lower case',
    find: '(value) => value === value.toLowerCase()',
    replace: '() => true',
  },
  {
    ...batches,
    file: `${src}/batches.ts`,
    name: 'the neighbours of a culprit are retried with it',
    find: 'const others = left.filter((piece) => !culprits.has(piece));\n',
    replace: 'const others: Piece[] = [];\n',
    title: 'is run again without its culprit',
  },
  {
    ...batches,
    file: `${src}/messaging/rascal/acks.ts`,
    name: 'a range is acknowledged over a delivery that is not done',
    find: 'if (!isDone) break;',
    replace: 'if (!isDone) continue;',
    title: 'acknowledges nothing that is not done',
  },
  {
    ...batches,
    file: `${src}/database/transaction.ts`,
    name: 'a transaction whose error was ignored counts as committed',
    find: 'throw new RolledBackError()',
    replace: 'void RolledBackError',
    title: 'an error that a handler ignores',
  },

  // --- workers ---
  {
    ...worker,
    file: `${src}/tasks/leases.ts`,
    name: 'a worker completes a task whose lease another one holds',
    find: 'where id = ${IDS} and lease = $2::text::uuid returning id::text as id',
    replace: 'where id = ${IDS} and $2::text is not null returning id::text as id',
    title: 'that died leaves its task to another one',
  },
  {
    ...worker,
    file: `${src}/tasks/completion.ts`,
    name: 'a worker whose task is gone completes it again',
    find: 'return tasks.filter((task) => !lost.has(task));',
    replace: 'return tasks;',
    title: 'that died leaves its task to another one',
  },
  {
    ...worker,
    file: `${src}/tasks/leases.ts`,
    name: 'two workers claim one task',
    find: 'limit $3::int for update skip locked))',
    replace: 'limit $3::int))',
    title: 'shares the work with its replicas',
  },
  {
    ...worker,
    name: 'a worker does not renew its claim',
    find: 'setInterval(() => void this.#renew(), LEASE_RENEWAL_MS)',
    replace: 'setInterval(() => void this.#renew, LEASE_RENEWAL_MS)',
    title: 'keeps its claim for as long as it is at it',
  },
  {
    ...worker,
    file: `${src}/tasks/scheduled.ts`,
    name: 'a task that has begun can be taken back',
    find: 'json_array_elements_text($2::text::json))) and attempts = 0',
    replace: 'json_array_elements_text($2::text::json)))',
    title: 'finishes a task that it has begun, also if the task is unscheduled',
  },
  {
    ...worker,
    name: 'a task that fails is tried again without a delay',
    find: 'Math.min(RETRY_MS.max, RETRY_MS.min * 2 ** (attempts - 1))',
    replace: 'Math.min(RETRY_MS.max, 0 * attempts)',
    title: 'waits longer after each failure',
  },

  // --- Idempotency-Key ---
  {
    ...idempotency,
    name: 'a repeat under an Idempotency-Key has a second effect',
    find: 'if (earlier !== undefined) return { answer: replay(earlier, digest), stored: earlier };',
    replace: '',
    title: 'gives a repeat the stored answer',
  },
  {
    ...idempotency,
    name: 'an Idempotency-Key answers for a request with other content',
    find: 'if (!digest.equals(asked)) {',
    replace: 'if (digest.length !== asked.length) {',
    title: 'refuses another body under the same key',
  },
  {
    ...idempotency,
    name: 'an error is stored under its Idempotency-Key',
    find: 'if (status < 200 || status > 299) {',
    replace: 'if (status < 200) {',
    title: 'stores no answer but 2xx',
  },

  // --- stopping ---
  {
    ...termination,
    file: `${src}/run.ts`,
    name: 'SIGTERM ends a service at once',
    find: 'void running.stop().then((inTime) => process.exit(inTime ? 0 : 1));',
    replace: 'process.exit(0);',
    title: 'waits for a slow request, and responds to it',
  },
  {
    ...termination,
    file: `${src}/service/readiness.ts`,
    name: 'a service that is stopping is ready',
    find: "return this.#stage === 'serving' && this.#areQueuesDeclared;",
    replace: "return this.#stage !== 'starting' && this.#areQueuesDeclared;",
    title: 'loses no request and no event when a replica stops',
  },
  {
    ...chassis,
    file: `${src}/http/server.ts`,
    name: 'a drain does not wait for requests in flight',
    find: '  await closed;\n  clearInterval(sweep);',
    replace: '  clearInterval(sweep);',
    tests: ['test/http-server.test.ts'],
    title: 'accepts no more, finishes what is in flight',
  },
  {
    ...termination,
    file: `${src}/service/shutdown.ts`,
    name: 'a stop does not wait for the events in the outbox to be published',
    find: 'await relay?.stop(left());',
    replace: 'await relay?.stop(0);',
    title: 'waits for a slow handler, whose event is then handled',
  },
];
