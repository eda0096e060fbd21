import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Something that must not outlive this process, however it ends. */
export type CleanupTarget =
  | { type: 'processes' /** Leader of a process group. */; group: number; signal: NodeJS.Signals }
  | { type: 'directory'; path: string }
  | { type: 'container'; name: string }
  | { type: 'resource' /** Deleted by HTTP. */; url: string; authorization: string }
  | { type: 'database'; server: string; name: string; role?: string }
  | { type: 'file' /** Moved back to where it was. */; path: string; from?: string };

/**
 * Registers something with the cleanup process, which waits until this process ends (Ctrl-C, a crash, SIGKILL) and then removes
 * what is still registered, the last first.
 * @returns a function that unregisters it, for when you have removed it yourself
 */
export function registerCleanup(target: CleanupTarget): () => void {
  cleaner ??= startCleaner();
  const id = ++lastId;
  send({ id, target });
  return () => send({ id });
}

/** Removes everything that is still registered, and waits for it. Call before `process.exit()`. */
export async function runCleanups(): Promise<void> {
  const ending = cleaner;
  if (!ending) return;
  cleaner = undefined;
  const ended = new Promise((resolve) => ending.once('exit', resolve));
  ending.ref();
  ending.stdin?.end();
  await ended;
}

let cleaner: ChildProcess | undefined;
let lastId = 0;

function startCleaner(): ChildProcess {
  // It notices the end of this process by the end of its standard input. `detached`, so that Ctrl-C does not reach it.
  const child = spawn(process.execPath, [fileURLToPath(new URL('./cleanup-process.ts', import.meta.url))], {
    stdio: ['pipe', 'ignore', 'inherit'],
    detached: true,
    cwd: '/',
    env: { ...process.env, NODE_OPTIONS: '', NODE_V8_COVERAGE: '' },
  });
  child.stdin?.on('error', () => {});
  (child.stdin as unknown as { unref(): void }).unref();
  child.unref();
  return child;
}

function send(message: { id: number; target?: CleanupTarget }): void {
  cleaner?.stdin?.write(`${JSON.stringify(message)}\n`);
}
