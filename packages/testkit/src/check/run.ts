// Checks from outside whether a service keeps the wire contract: over AMQP and the management API, without knowing its code.
import { brokerObjects } from './broker-objects.ts';
import { CHECKS } from './checks/index.ts';
import { Context, NotChecked } from './context.ts';
import { contractsOf } from './contract.ts';
import { KIT_HEADER } from './draft.ts';
import { effectsBy } from './effects.ts';
import { CHECK_NAMES, type CheckName } from './names.ts';
import {
  CheckError,
  type CheckOptions,
  type CheckReport,
  type CheckResult,
  ServiceError,
} from './options.ts';
import { runningAs, type ServiceProcess, startedBy } from './process.ts';
import { untilConsumed } from './restart.ts';
import { namesOf, subjectOf } from './subject.ts';
import { openWire, type Watch, type Wire } from './wire.ts';

/**
 * Checks a service against the wire contract. It publishes events to the exchange `events`, where all their consumers receive them:
 * use a broker for tests.
 * @example
 * const report = await checkContract({
 *   queue: 'loyalty.order.confirmed',
 *   sample: { orderId: randomUUID(), userId: randomUUID(), productName: 'Tea', price: 4.5, currency: 'EUR' },
 *   contract: await import('@warren/contracts'),
 *   brokerUrl: 'amqp://guest:guest@localhost:5672/',
 *   effects: { sql: 'select count(*) from points where order_id = {data.orderId}', databaseUrl },
 *   start: { command: 'exec node src/main.ts', cwd: '../loyalty', env: { AMQP_URL: loyaltyUrl } },
 * });
 * expect(report.kept, JSON.stringify(report.checks)).to.equal(true);
 * @throws {CheckError} if an option is missing or wrong, or the broker, the database or the service is unavailable
 */
export async function checkContract(options: CheckOptions): Promise<CheckReport> {
  const { consumed } = namesOf(options);
  const unknown = options.only?.find((name) => !CHECK_NAMES.includes(name));
  if (unknown !== undefined)
    throw new CheckError(`there is no check '${unknown}'; the checks are ${CHECK_NAMES.join(', ')}`);
  const brokerUrl = options.brokerUrl ?? process.env.AMQP_URL;
  if (brokerUrl === undefined)
    throw new CheckError('give --broker URL of an administrator of the broker, or set AMQP_URL');
  const managementUrl = options.managementUrl ?? process.env.AMQP_MANAGEMENT_URL;
  const service = serviceOf(options);
  const wire = await openWire({ brokerUrl, managementUrl });
  try {
    await requireExchanges(wire);
    await service?.start();
    if (service !== undefined) await untilConsumed(wire, consumed, service);
    return await runChecks(wire, service, options);
  } finally {
    if (service?.restarts) await service.stop(STOP_MS);
    await wire.close();
  }
}

/** ms that the service has at the end. */
const STOP_MS = 10_000;

function serviceOf({ start, pid }: CheckOptions): ServiceProcess | undefined {
  if (start !== undefined && pid !== undefined) throw new CheckError('give either --start or --pid');
  return start !== undefined ? startedBy(start) : pid === undefined ? undefined : runningAs(pid);
}

async function requireExchanges(wire: Wire): Promise<void> {
  for (const name of ['events', 'rpc'])
    if ((await brokerObjects(wire).exchange(name)) === undefined)
      throw new CheckError(
        `the exchange '${name}' is missing in the vhost '${wire.vhost}': import charts/rabbitmq/files/definitions.json`,
      );
}

async function runChecks(
  wire: Wire,
  service: ServiceProcess | undefined,
  options: CheckOptions,
): Promise<CheckReport> {
  const subject = await subjectOf(wire, options);
  const published = await wire.tap('events', [`${subject.service}.#`]);
  const effects = await effectsBy(options.effects, () => published.messages);
  try {
    const watches = {
      deadLetters: await deadLettersOf(wire, subject.queue),
      retries: await retriesOf(wire, subject),
      published,
    };
    const contracts = contractsOf(options.contract);
    const context = new Context({ options, subject, wire, effects, service, contracts, ...watches });
    const invalid = options.queue === undefined ? undefined : context.validateData?.(subject.event.sample);
    if (invalid !== undefined)
      throw new CheckError(`the sample does not fit the contract of ${subject.key}: ${invalid}`);
    const checks = await resultsOf(context, chosen(options));
    const kept = checks.every(({ verdict }) => verdict !== 'broken');
    return {
      queue: options.queue,
      service: subject.service,
      user: subject.user,
      broker: wire.description,
      checks,
      kept,
    };
  } finally {
    await effects.close();
  }
}

async function deadLettersOf(wire: Wire, queue: string): Promise<Watch | undefined> {
  const name = `${queue}.dlq`;
  if ((await wire.queue(name)) === undefined) return undefined;
  // Messages of the kit are removed; the others return when the kit disconnects.
  return wire.watchQueue(name, ({ properties }) => KIT_HEADER in (properties.headers ?? {}));
}

async function retriesOf(wire: Wire, { service, levels }: Context['subject']): Promise<Watch> {
  const exchange = `${service}.retry`;
  if ((await brokerObjects(wire).exchange(exchange)) === undefined) return { messages: [], of: () => [] };
  return wire.tap(
    exchange,
    levels.map(({ name }) => name),
  );
}

/** Without the event that every check needs, only requests are checked. */
const chosen = ({ queue, only = CHECK_NAMES }: CheckOptions): ReadonlySet<CheckName> =>
  new Set(queue === undefined ? ['rpc'] : [...only, ...BASE]);

/** A check of anything else is worth nothing without it. */
const BASE: readonly CheckName[] = ['handled'];

async function resultsOf(context: Context, names: ReadonlySet<CheckName>): Promise<CheckResult[]> {
  const results: CheckResult[] = [];
  for (const check of CHECKS.filter(({ name }) => names.has(name))) {
    const started = performance.now();
    context.ledger.begin(check.name);
    context.options.onCheck?.(check.name);
    let missing: string | undefined;
    try {
      if (NEEDS_EFFECT.has(check.name) && context.ledger.faultsOf('handled').length > 0)
        throw new NotChecked('a plain event has no effect: see handled');
      await check.run(context);
    } catch (error) {
      if (error instanceof NotChecked) missing = error.message;
      else if (error instanceof ServiceError) context.fault(error.message);
      else throw error;
    }
    results.push({ ...verdictOf(context, check.name, missing), ms: Math.round(performance.now() - started) });
  }
  await context.audit();
  return results.map((result) =>
    result.verdict === 'not checked' ? result : { ...result, ...verdictOf(context, result.check) },
  );
}

const NEEDS_EFFECT = new Set<CheckName>(
  CHECK_NAMES.filter((name) => !['topology', 'handled', 'rpc'].includes(name)),
);

function verdictOf(context: Context, check: CheckName, missing?: string): Omit<CheckResult, 'ms'> {
  const faults = context.ledger.faultsOf(check);
  if (faults.length > 0) return { check, verdict: 'broken', reasons: faults };
  return missing === undefined
    ? { check, verdict: 'kept', reasons: [] }
    : { check, verdict: 'not checked', reasons: [missing] };
}
