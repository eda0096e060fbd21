import { setTimeout as wait } from 'node:timers/promises';

/** Whether any process of this group is left. */
export function groupLives(group: number): boolean {
  try {
    process.kill(-group, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

export function signalGroup(group: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-group, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Signals a process group and waits until none of it is left; after `grace` ms it is killed. */
export async function endGroup(
  group: number,
  { signal = 'SIGTERM' as NodeJS.Signals, grace = 10_000 } = {},
): Promise<void> {
  signalGroup(group, signal);
  const deadline = Date.now() + grace;
  let killed = signal === 'SIGKILL';
  while (groupLives(group)) {
    if (!killed && Date.now() > deadline) {
      signalGroup(group, 'SIGKILL');
      killed = true;
    }
    // What still answers now is dead, and waits for a parent that does not collect its children.
    if (Date.now() > deadline + 5_000) return;
    await wait(20);
  }
}
