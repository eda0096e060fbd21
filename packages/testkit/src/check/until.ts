import { setTimeout as wait } from 'node:timers/promises';

/** ms between two looks. */
const POLL_MS = 20;

/** `progress` starts the time-out anew. */
export type Look = () => Promise<'done' | 'progress' | 'waiting'>;

/** Repeats `look` until it is done. @returns false if it has made no progress for the time-out, in ms */
export async function until(look: Look, timeout: number): Promise<boolean> {
  let deadline = performance.now() + timeout;
  for (;;) {
    const found = await look();
    if (found === 'done') return true;
    if (found === 'progress') deadline = performance.now() + timeout;
    if (performance.now() > deadline) return false;
    await wait(POLL_MS);
  }
}
