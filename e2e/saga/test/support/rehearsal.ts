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
    run: number;
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
  const shrink = (run: number) => fc.assert(property, { seed, path: String(run), numRuns: 1 });

  // The same as those of fc.assert with this seed, which would run them one after the other.
  const left = fc.sample(property as unknown as fc.Arbitrary<[Sequence]>, { seed, numRuns: runs }).entries();
  const hand = async () => {
    for (const [run, [wanted]] of left) {
      if (rehearsal.wrong !== undefined) return;
      await perform(wanted).catch((error) => {
        rehearsal.wrong ??= { run, error, shrink: () => shrink(run) };
      });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, hand));
  return rehearsal;
}

const count = (counts: Map<string, number>, what: string) => counts.set(what, (counts.get(what) ?? 0) + 1);
