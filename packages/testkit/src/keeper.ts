import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Something that must not outlive this process, whatever ends it. */
export type Keepsake =
  | { type: 'processes' /** Leader of a process group. */; group: number; signal: NodeJS.Signals }
  | { type: 'directory'; path: string }
  | { type: 'container'; name: string }
  | { type: 'resource' /** Deleted by HTTP. */; url: string; authorization: string }
  | { type: 'database'; server: string; name: string; role?: string }
  | { type: 'file' /** Moved back to where it was. */; path: string; from?: string };

/**
 * Hands something over to the keeper: a process of its own that waits for this one to end (Ctrl-C, a crash, SIGKILL) and then
 * removes what has been left, the last first. Call what is returned once you have removed it yourself.
 */
export function keep(keepsake: Keepsake): () => void {
  keeper ??= startKeeper();
  const id = ++lastId;
  tell({ id, keepsake });
  return () => tell({ id });
}

/** Has everything that is still in the keeper's hands removed now, and waits for it. For the end of a program, also a hasty one. */
export async function removeKept(): Promise<void> {
  const ending = keeper;
  if (!ending) return;
  keeper = undefined;
  const ended = new Promise((resolve) => ending.once('exit', resolve));
  ending.ref();
  ending.stdin?.end();
  await ended;
}

let keeper: ChildProcess | undefined;
let lastId = 0;

function startKeeper(): ChildProcess {
  // It learns of our end by the end of its standard input, and has a session of its own: Ctrl-C does not reach it.
  const child = spawn(process.execPath, [fileURLToPath(new URL('./keeper-process.ts', import.meta.url))], {
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

function tell(message: { id: number; keepsake?: Keepsake }): void {
  keeper?.stdin?.write(`${JSON.stringify(message)}\n`);
}
