// Kills and restarts of the service under check.
import { type Context, NotChecked } from './context.ts';
import { ServiceError } from './options.ts';
import type { ServiceProcess } from './process.ts';
import { until } from './until.ts';
import type { Wire } from './wire.ts';

/** @throws {NotChecked} if the kit cannot kill the service */
export function serviceOf(context: Context): ServiceProcess {
  if (context.service === undefined)
    throw new NotChecked(
      'give --start "COMMAND", so that the kit can kill the service, or --pid if a supervisor restarts it',
    );
  if (!context.service.restarts && context.service.ended())
    throw new NotChecked(
      'the process of --pid has ended in a check before: run this check alone with the new pid',
    );
  return context.service;
}

/** ms until a service consumes after its start. */
const START_MS = 60_000;

/** Starts the service, or waits for its supervisor. @throws {ServiceError} if the queue gets no consumer */
export async function restart(service: ServiceProcess, { wire, subject }: Context): Promise<void> {
  await service.start();
  await untilConsumed(wire, subject.queue, service);
}

/** @throws {ServiceError} if the queue gets no consumer in time */
export async function untilConsumed(wire: Wire, queue: string, service: ServiceProcess): Promise<void> {
  const hasEnded = () => service.restarts && service.ended();
  const isConsumed = async () => ((await wire.queue(queue))?.consumers ?? 0) > 0;
  const look = async () => ((await isConsumed()) || hasEnded() ? 'done' : 'waiting');
  await until(look, START_MS);
  if (await isConsumed()) return;
  const when = hasEnded() ? 'the service ended, and' : `${START_MS / 1_000} s after the start`;
  const output = service.output();
  throw new ServiceError(`${when} nothing consumes ${queue}${output && `: ${output}`}`);
}
