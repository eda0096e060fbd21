// Which message has to have how many effects, and which faults each check has found. An effect may come late, so the effects of all
// messages are counted once more at the end of the run.

import type { Draft } from './draft.ts';
import type { CheckName } from './names.ts';

interface Entry {
  check: CheckName;
  effects: 0 | 1;
  reported: boolean;
}

interface Audit {
  count(draft: Draft): Promise<number>;
  isRefused(draft: Draft): boolean;
  whereabouts(draft: Draft): string;
}

/** Faults that are named; of more there is the number. */
const NAMED_FAULTS = 5;

export class Ledger {
  readonly #entries = new Map<Draft, Entry>();
  readonly #accepted = new Map<Draft, CheckName>();
  readonly #faults = new Map<CheckName, string[]>();
  #check: CheckName = 'handled';

  /** What follows belongs to this check. */
  begin(check: CheckName): void {
    this.#check = check;
  }

  fault(text: string, check = this.#check): void {
    this.#faults.set(check, [...(this.#faults.get(check) ?? []), text]);
  }

  /** The faults of a check. */
  faultsOf(check: CheckName): string[] {
    const faults = this.#faults.get(check) ?? [];
    const more = faults.length - NAMED_FAULTS;
    return more > 0 ? [...faults.slice(0, NAMED_FAULTS), `and ${more} more`] : faults;
  }

  expect(drafts: readonly Draft[], effects: 0 | 1): void {
    for (const draft of drafts)
      if (!this.#entries.has(draft))
        this.#entries.set(draft, { check: this.#check, effects, reported: false });
  }

  get drafts(): Draft[] {
    return [...this.#entries.keys(), ...this.#accepted.keys()];
  }

  isExpected(draft: Draft, effects: 0 | 1): boolean {
    return this.#entries.get(draft)?.effects === effects;
  }

  /** A fault of one message, once. */
  report(draft: Draft, text: string): void {
    const entry = this.#entries.get(draft);
    if (entry?.reported) return;
    if (entry !== undefined) entry.reported = true;
    this.fault(text, entry?.check);
  }

  /** Messages that must not be refused, with or without an effect. */
  accept(drafts: readonly Draft[]): void {
    for (const draft of drafts) this.#accepted.set(draft, this.#check);
  }

  /** Looks at all messages without a fault once more. */
  async audit({ count, isRefused, whereabouts }: Audit): Promise<void> {
    for (const [draft, { effects, reported }] of this.#entries) {
      if (reported) continue;
      const found = await count(draft);
      if (found !== effects)
        this.report(
          draft,
          found === 0 ? `${draft.what} had no effect` : `${draft.what} had ${found} effects`,
        );
    }
    for (const [draft, check] of this.#accepted) if (isRefused(draft)) this.fault(whereabouts(draft), check);
  }
}
