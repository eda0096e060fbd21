// The broker and the database that `make services` keeps running for a checkout.
import { findJson } from './find-json.ts';

/** Where they are written down, seen from the root of the checkout. */
export const KEPT_SERVICES = '.tools/services.json';

export type KeptServices = Record<'AMQP_URL' | 'AMQP_MANAGEMENT_URL' | 'DATABASE_URL', string>;

/** The file's content: the variables, and the process that keeps both servers running. */
export interface KeptFile extends KeptServices {
  pid: number;
}

/** As environment variables; none when no server is kept for the checkout that `directory` lies in. */
export function keptServices(directory = process.cwd()): Partial<KeptServices> {
  const kept = findJson<KeptFile>(KEPT_SERVICES, directory);
  if (!kept) return {};
  const { pid, ...variables } = kept;
  return isRunning(pid) ? variables : {};
}

export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // The process belongs to another user.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
