// Many sequences at once; and one that went wrong again by itself, made as small as it gets.
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { audit } from './audit.ts';
import { Course } from './course.ts';
import type { Parties } from './parties.ts';
import { type Sequence, sequence } from './sequence.ts';

/** Enough to keep two processors busy; a race takes up to three connections of a pool. */
const AT_ONCE = 24;
export const CONNECTIONS = 28;

export interface Rehearsal {
  /** How the orders ended, and how often. */
  endings: Map<string, number>;
  /** What came to pass, and in how many sequences. */
  seen: Map<string, number>;
  wrong?: {
    /** Of this sequence alone. */
    seed: number;
    /** Its message tells all that happened. */
    error: Error;
    /** Runs that sequence again, and smaller ones; rejects with the smallest that goes wrong. */
    shrink(): Promise<void>;
  };
}

/** Runs and audits that many generated sequences, until one goes wrong. */
export async function rehearse(
  parties: Parties,
  { runs, seed }: { runs: number; seed: number },
): Promise<Rehearsal> {
  const rehearsal: Rehearsal = { endings: new Map(), seen: new Map() };
  const customer = randomUUID();
  await parties.order.database.kysely.insertInto('users').values({ user_id: customer }).execute();

  const perform = async (wanted: Sequence) => {
    const course = new Course(parties, customer, wanted);
    try {
      await course.run();
      count(rehearsal.endings, await audit(course, parties));
      for (const each of course.seen) count(rehearsal.seen, each);
    } catch (error) {
      const story = course.story.map((line) => `  ${line}`).join('\n');
      throw new Error(`${(error as Error).message}\n${story}`, { cause: error });
    }
  };
  const property = fc.asyncProperty(sequence, perform);
  // Each has a seed of its own, so that it is the same when it is the only one.
  const only = (run: number) => ({ seed: seed + run, numRuns: 1, unbiased: true });

  let next = 0;
  const hand = async () => {
    while (next < runs && rehearsal.wrong === undefined) {
      const run = next;
      next += 1;
      const [wanted] = fc.sample(sequence, only(run));
      await perform(wanted as Sequence).catch((error) => {
        rehearsal.wrong ??= { seed: seed + run, error, shrink: () => fc.assert(property, only(run)) };
      });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, hand));
  return rehearsal;
}

const count = (counts: Map<string, number>, what: string) => counts.set(what, (counts.get(what) ?? 0) + 1);
