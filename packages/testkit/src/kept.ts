// The broker and the database that `make services` keeps running for a checkout.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Where they are written down, seen from the root of the checkout. */
export const KEPT_SERVICES = '.tools/services.json';

export type KeptServices = Record<'AMQP_URL' | 'AMQP_MANAGEMENT_URL' | 'DATABASE_URL', string>;

/** The file's content: the variables, and the process that keeps both servers running. */
export interface KeptFile extends KeptServices {
  pid: number;
}

/** As environment variables; none when no server is kept for the checkout that `directory` lies in. */
export function keptServices(directory = process.cwd()): Partial<KeptServices> {
  const kept = findKept(directory);
  if (!kept) return {};
  const { pid, ...variables } = kept;
  return isRunning(pid) ? variables : {};
}

function findKept(directory: string): KeptFile | undefined {
  const file = join(directory, KEPT_SERVICES);
  if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8'));
  const parent = dirname(directory);
  return parent === directory ? undefined : findKept(parent);
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
