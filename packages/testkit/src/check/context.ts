// What every check works with: it publishes messages, waits for facts, and reports faults.
import type { Recorded } from '../rabbitmq/probe.ts';
import type { Contracts, Validate } from './contract.ts';
import { type Changes, type Draft, drafted, type EventOf } from './draft.ts';
import type { Effects } from './effects.ts';
import { Ledger } from './ledger.ts';
import { type CheckOptions, DEFAULTS } from './options.ts';
import type { ServiceProcess } from './process.ts';
import type { RetryLevel } from './retry-levels.ts';
import { type Look, until } from './until.ts';
import type { Watch, Wire } from './wire.ts';

/** The queue and its service, as the broker shows them. */
export interface Subject {
  queue: string;
  service: string;
  /** Broker user of the service. */
  user: string;
  event: EventOf;
  /** Routing key of the event, `TYPE.vN`. */
  key: string;
  /** Versions of the event that the queue is bound to. */
  versions: readonly number[];
  levels: readonly RetryLevel[];
}

/** Why a check cannot run; a sentence. */
export class NotChecked extends Error {
  override readonly name = 'NotChecked';
}

export interface Watches {
  /** Undefined if the queue does not exist. */
  deadLetters: Watch | undefined;
  /** Copies of what the service publishes to its delay queues. */
  retries: Watch;
  /** Copies of the events of the service. */
  published: Watch;
}

export interface ContextParts extends Watches {
  options: CheckOptions;
  subject: Subject;
  wire: Wire;
  effects: Effects;
  service: ServiceProcess | undefined;
  contracts: Contracts;
}

export class Context {
  readonly options: CheckOptions;
  readonly subject: Subject;
  readonly wire: Wire;
  readonly effects: Effects;
  readonly service: ServiceProcess | undefined;
  readonly watches: Watches;
  readonly contracts: Contracts;
  readonly ledger: Ledger;
  /** ms to wait for a fact. */
  readonly timeout: number;
  /** What is wrong with data of the event; undefined if the contract is unknown. */
  readonly validateData: Validate | undefined;

  constructor({ options, subject, wire, effects, service, contracts, ...watches }: ContextParts) {
    this.options = options;
    this.subject = subject;
    this.wire = wire;
    this.effects = effects;
    this.service = service;
    this.watches = watches;
    this.timeout = options.timeout ?? DEFAULTS.timeout;
    this.contracts = contracts;
    this.validateData = contracts.data(subject.key);
    this.ledger = new Ledger();
  }

  /** A valid event with new ids, and with the changes. */
  draft(what: string, changes?: Changes): Draft {
    return drafted(this.subject.event, what, changes);
  }

  /** Publishes messages in this order: to `events`, as their producer does. */
  async publish(...drafts: readonly Draft[]): Promise<void> {
    await Promise.all(drafts.map((draft) => this.wire.publish('events', this.subject.key, draft)));
  }

  /** Publishes a message to this queue alone, as a replay does. */
  replay(draft: Draft): Promise<void> {
    return this.wire.publish(`${this.subject.service}.return`, this.subject.queue, draft);
  }

  fault(text: string): void {
    this.ledger.fault(text);
  }

  /**
   * Waits until each has had an effect, and reports those that have none or more than one. The effects are counted again at the
   * end of the run.
   */
  async haveOneEffect(drafts: readonly Draft[]): Promise<void> {
    this.ledger.expect(drafts, 1);
    const pending = new Set(drafts);
    await this.until(async () => {
      const before = pending.size;
      await each([...pending], async (draft) => {
        const count = await this.effects.count(draft);
        if (count > 1) this.ledger.report(draft, `${draft.what} had ${count} effects`);
        else if (count === 0 && this.isDead(draft)) this.ledger.report(draft, this.whereabouts(draft));
        else if (count === 0) return;
        pending.delete(draft);
      });
      return pending.size === 0 ? 'done' : pending.size < before ? 'progress' : 'waiting';
    });
    for (const draft of pending) this.ledger.report(draft, this.whereabouts(draft));
  }

  /** Waits until one of them has had an effect: of events about one thing, the second may change nothing. */
  async haveAnEffect(drafts: readonly Draft[]): Promise<void> {
    const isSeen = await this.until(async () => {
      const counts = await Promise.all(drafts.map((draft) => this.effects.count(draft)));
      return counts.some((count) => count > 0) ? 'done' : 'waiting';
    });
    if (!isSeen) for (const draft of drafts) this.fault(this.whereabouts(draft));
  }

  /** Waits until the service has handled one more event, so that it has had every message before it. */
  async handlesOneMore(): Promise<void> {
    const draft = this.draft('a plain event after them');
    await this.publish(draft);
    await this.haveOneEffect([draft]);
  }

  /** Waits until each is in the dead-letter queue. @returns those that are, and reports the others */
  async areDead(drafts: readonly Draft[], timeout = this.timeout): Promise<[Draft, Recorded][]> {
    this.ledger.expect(drafts, 0);
    await this.until(async () => (drafts.every((draft) => this.isDead(draft)) ? 'done' : 'waiting'), timeout);
    return drafts.flatMap((draft): [Draft, Recorded][] => {
      const [letter] = this.lettersOf(draft);
      if (letter !== undefined) return [[draft, letter]];
      this.ledger.report(draft, this.whereabouts(draft));
      return [];
    });
  }

  /** Neither is dead-lettered or retried, now or later: it is looked at at the end of the run. */
  areAccepted(drafts: readonly Draft[]): void {
    this.ledger.accept(drafts);
  }

  /** Looks at all messages of the run once more. */
  audit(): Promise<void> {
    return this.ledger.audit({
      count: (draft) => this.effects.count(draft),
      isRefused: (draft) => this.isDead(draft) || this.watches.retries.of(draft).length > 0,
      whereabouts: (draft) => this.whereabouts(draft),
    });
  }

  lettersOf(draft: Draft): Recorded[] {
    return this.watches.deadLetters?.of(draft) ?? [];
  }

  isDead(draft: Draft): boolean {
    return this.lettersOf(draft).length > 0;
  }

  /** Where a message is that did not do what it should. */
  whereabouts(draft: Draft): string {
    const { queue } = this.subject;
    const [letter] = this.lettersOf(draft);
    if (letter !== undefined) return `${draft.what} was dead-lettered ${reasonOf(letter)}`;
    const retries = this.watches.retries.of(draft).length;
    const within = `within ${this.timeout} ms`;
    if (retries > 0) return `${draft.what} was sent to the delay queues (${retries} times)`;
    if (this.ledger.isExpected(draft, 1))
      return `${draft.what} had no effect ${within}, and is not in ${queue}.dlq`;
    return this.watches.deadLetters === undefined
      ? `${draft.what} cannot be dead-lettered: the queue ${queue}.dlq does not exist`
      : `${draft.what} was not dead-lettered ${within}`;
  }

  /** Repeats `look` until it is done. @returns false if it has made no progress for the time-out */
  until(look: Look, timeout = this.timeout): Promise<boolean> {
    return until(look, timeout);
  }
}

const reasonOf = ({ properties: { headers = {} } }: Recorded): string => {
  const { 'x-warren-reason': reason, 'x-warren-error': error } = headers;
  return reason === undefined ? 'without a reason' : `as ${reason}${error === undefined ? '' : `: ${error}`}`;
};

const AT_ONCE = 10;

/** A few at a time. */
async function each<Item>(items: readonly Item[], work: (item: Item) => Promise<void>): Promise<void> {
  const queue = [...items];
  const next = async (): Promise<void> => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, next));
}
