// The floors of packages/chassis/src: which folder may import which.
import { dirname, normalize } from 'node:path';

/** An import of one file of the chassis by another, both relative to `packages/chassis/src`. */
export interface Import {
  from: string;
  to: string;
  line: number;
}

/** Files that all others may import; they import only each other. */
const base = [
  'backoff.ts',
  'concurrency.ts',
  'duration.ts',
  'environment.ts',
  'errors.ts',
  'id.ts',
  'redact.ts',
  'socket.ts',
];

/** What each folder, and each file beside the folders, may import besides `base`. */
const floors: Record<string, readonly string[]> = {
  ...Object.fromEntries(base.map((file) => [file, []])),
  'context.ts': ['auth', 'database', 'telemetry'],
  telemetry: ['context.ts'],
  database: ['context.ts'],
  inbox: ['database'],
  auth: ['config.ts', 'context.ts'],
  'messaging/rascal': [],
  messaging: [
    'batches.ts',
    'context.ts',
    'database',
    'inbox',
    'messaging/rascal',
    'telemetry',
    'units-of-work.ts',
  ],
  outbox: ['context.ts', 'database', 'messaging', 'telemetry'],
  tasks: ['batches.ts', 'context.ts', 'database', 'telemetry', 'units-of-work.ts'],
  'units-of-work.ts': ['context.ts', 'database', 'outbox', 'tasks', 'telemetry'],
  'batches.ts': ['context.ts', 'units-of-work.ts'],
  'config.ts': ['database', 'messaging'],
  request: ['context.ts', 'database'],
  openapi: ['auth', 'request'],
  http: ['auth', 'batches.ts', 'config.ts', 'context.ts', 'openapi', 'request', 'telemetry'],
  'doors/adapters': ['doors'],
  doors: [
    'batches.ts',
    'config.ts',
    'context.ts',
    'database',
    'doors/adapters',
    'inbox',
    'messaging',
    'messaging/rascal',
    'outbox',
    'tasks',
    'telemetry',
    'units-of-work.ts',
  ],
  rpc: ['auth', 'context.ts', 'messaging', 'messaging/rascal', 'request', 'telemetry'],
};
/** What starts a service and what exports it may import everything. */
const top = ['service', 'run.ts', 'index.ts'];

/** Why one file may not import the other, if so. */
export function faultOfFloors({ from, to }: Import): string | undefined {
  const [importing, imported] = [floorOf(from), floorOf(to)];
  if (importing === imported || top.includes(importing)) return undefined;
  const allowed = floors[importing];
  if (allowed === undefined) return `${importing} has no floor: add it to scripts/check-floors.ts`;
  if (base.includes(imported) || allowed.includes(imported)) return undefined;
  return `${importing} may import ${[...allowed, 'the files of base'].join(', ')} (scripts/check-floors.ts)`;
}

/** The folder of a file, or the file itself if it is beside the folders. */
const floorOf = (file: string): string => (dirname(file) === '.' ? file : dirname(file));

/** The target of a relative import of a file. */
export const targetOf = (file: string, specifier: string): string =>
  normalize(`${dirname(file)}/${specifier}`);
