import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';

/** Whether any process of this group runs. */
export function groupLives(group: number): boolean {
  try {
    process.kill(-group, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  return process.platform === 'linux' ? membersRun(group) : true;
}

/** A zombie accepts signals, too, until its parent waits for it; a parent that has inherited it may be slow. */
function membersRun(group: number): boolean {
  return readdirSync('/proc').some((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      // pid (name, which may hold anything) state parent group …
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const [state, , processGroup] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return processGroup === String(group) && state !== 'Z' && state !== 'X';
    } catch {
      return false;
    }
  });
}

function signalGroup(group: number, signal: NodeJS.Signals): void {
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
    if (Date.now() > deadline + 5_000) throw new Error(`the processes of group ${group} do not end`);
    await wait(25);
  }
}
