// The course of one sequence: real handlers, rules and workers on real tables, moved by its steps. Between the two services stands a
// network that keeps what it was given until it is delivered, and nothing else of a network.
import { randomUUID } from 'node:crypto';
import { newId, sql, type Worker } from '@warren/chassis';
import { fromMinorUnits, userCreated } from '@warren/contracts';
import { buildEvent, type CloudEvent, parseEvent } from '@warren/events';
import type { BatchOptions, UnitsOfWork, WorkContext } from '../../../../packages/chassis/src/context.ts';
import { insertMessages } from '../../../../packages/chassis/src/inbox/inbox.ts';
import { eventQueues } from '../../../../packages/chassis/src/messaging/broker.ts';
import { type BoundHandler, bindHandlers } from '../../../../packages/chassis/src/messaging/handlers.ts';
import { createUnitsOfWork } from '../../../../packages/chassis/src/units-of-work.ts';
import { LIMIT, log, type Name, PAYMENT_TIMEOUT, type Parties, type Party } from './parties.ts';
import type { Sequence, Step } from './sequence.ts';

interface Message {
  to: Name;
  type: string;
  body: string;
}

interface Task {
  id: string;
  kind: string;
  key: string;
  data: object;
  attempts: number;
}

/** A task in the hands of a worker. */
interface Held {
  at: Name;
  holder: string;
  worker: Worker;
  task: Task;
  answer?: { given: unknown };
}

/** Since when a service has had its broker, and until when. */
interface Link {
  up: boolean;
  times: { from: number; to: number }[];
}

/** More than any sequence needs to come to rest. */
const PATIENCE = 200;
const MINUTE = 60_000;

/** Rolls back what a handler did; the message comes again. */
class RolledBack extends Error {}

export class Course {
  readonly correlationId = randomUUID();
  readonly userId: string;
  orderId: string | undefined;
  /** All events, in the order of their commits in each service. */
  readonly told: CloudEvent[] = [];
  /** What the order service counted as refused. */
  readonly refused: Record<string, string>[] = [];
  /** What happened, for people. */
  readonly story: string[] = [];
  /** What came to pass, of the things that a test wants to have seen. */
  readonly seen = new Set<string>();
  readonly links: Record<Name, Link>;
  readonly #sequence: Sequence;
  readonly #parties: Parties;
  readonly #units: Record<Name, UnitsOfWork>;
  readonly #unpublished = new Set<Name>();
  readonly #network: Message[] = [];
  readonly #held: Held[] = [];
  readonly #began = Date.now();
  #now = this.#began;
  /** Payment has consumed the order's event. */
  #opened = false;

  /** @param customer a user whom the order service knows; the welcome order is of a new one */
  constructor(parties: Parties, customer: string, sequence: Sequence) {
    this.#parties = parties;
    this.#sequence = sequence;
    const welcome = sequence.start === 'welcome';
    this.userId = welcome ? newId() : customer;
    this.orderId = welcome ? undefined : newId();
    const link = (): Link => ({ up: true, times: [{ from: this.#now - 24 * 60 * MINUTE, to: Infinity }] });
    this.links = { order: link(), payment: link() };
    this.#units = { order: this.#unitsOf(parties.order), payment: this.#unitsOf(parties.payment) };
    if (welcome) this.#network.push(this.#signUp());
  }

  #unitsOf(party: Party): UnitsOfWork {
    return createUnitsOfWork({
      service: party.name,
      database: party.database,
      config: { ...party.config, WELCOME_PRICE: this.#sequence.price },
      now: () => new Date(this.#now),
      publications: party.publications,
      brokerSince: () => {
        const { up, times } = this.links[party.name];
        return up ? new Date(times.at(-1)?.from as number) : undefined;
      },
      counters: (_counter, labels) => () => void this.refused.push(labels),
      onCommit: ({ events }) => void (events && this.#unpublished.add(party.name)),
    });
  }

  /** Goes through all steps; then everything is delivered, and every task is done. */
  async run(): Promise<void> {
    for (const step of this.#sequence.steps) {
      await this.#step(step);
      await this.#publish();
    }
    await this.#watched();
    await this.#rest();
  }

  /** An order that waits for its payment will end, after any sequence so far. */
  async #watched(): Promise<void> {
    const { rows } = await sql`
      select 1 from orders where id = ${this.orderId} and status = 'pending'
        and not exists (select 1 from warren.tasks where kind = 'order.expire' and key = ${this.orderId})`.execute(
      this.#parties.order.database.kysely,
    );
    if (rows.length > 0) throw new Error('the order is pending, and nothing will ever cancel it');
  }

  #step(step: Step): Promise<unknown> | undefined {
    switch (step.do) {
      case 'place':
        return this.#place();
      case 'deliver':
        return this.#deliver(this.#pick(step.message), step.ack);
      case 'begin':
        return this.#begin(step.at, step.over);
      case 'ask':
        return this.#ask(at(this.#held, step.worker), step.answer);
      case 'settle':
        return this.#settle(at(this.#held, step.worker));
      case 'die': {
        const held = at(this.#held, step.worker);
        if (held !== undefined) this.#release(held, 'dies');
        return;
      }
      case 'wait':
        this.#now += step.minutes * MINUTE;
        this.story.push(`${step.minutes} min later:`);
        return;
      case 'link':
        this.#link(step.of, step.up);
        return;
      case 'race':
        this.story.push(`at once, ${step.steps.length}:`);
        return Promise.all(step.steps.map((each) => this.#step(each)));
    }
  }

  async #rest(): Promise<void> {
    this.story.push('and everything comes to rest:');
    for (const name of ['order', 'payment'] as const) this.#link(name, true);
    if (this.#sequence.start === 'order') await this.#place();
    // Workers that everybody believed dead: others take their tasks over, and at the end they turn up again.
    const late = this.#held.splice(0);
    for (let left = PATIENCE; left > 0; left -= 1) {
      await this.#publish();
      const message = this.#network[0];
      if (message !== undefined) await this.#deliver(message, 'given');
      else if (await this.#begin('payment', true)) await this.#settle(this.#held[0]);
      else if (await this.#begin('order', true)) await this.#settle(this.#held[0]);
      else if (late.length > 0) await this.#settle(late.shift());
      else return;
    }
    throw new Error('it does not come to rest');
  }

  // --- The client ---

  async #place(): Promise<void> {
    const { start, price, currency } = this.#sequence;
    if (start === 'welcome') return this.#deliver(this.#signUp(), 'lost');
    const route = this.#parties.order.description.routes?.find(
      ({ method, path }) => method === 'POST' && path === '/orders',
    );
    const { orderId, userId } = this;
    const body = { orderId, userId, productName: 'A book', price: fromMinorUnits(price), currency };
    await this.#units.order.run({ correlationId: this.correlationId, log }, async (work) => {
      const request = { params: {}, query: {}, headers: {}, body };
      return route?.handler(request, work as Parameters<typeof route.handler>[1]);
    });
    this.story.push('the client orders');
  }

  #signUp(): Message {
    const event = buildEvent(userCreated, {
      id: this.userId,
      source: '/user',
      time: new Date(this.#began),
      correlationId: this.correlationId,
      data: { userId: this.userId, name: 'Ada Lovelace', email: 'ada@example.com' },
    });
    return { to: 'order', type: event.type, body: JSON.stringify(event) };
  }

  // --- The network ---

  #link(name: Name, up: boolean): void {
    const link = this.links[name];
    if (link.up === up) return;
    link.up = up;
    if (up) link.times.push({ from: this.#now, to: Infinity });
    else (link.times.at(-1) as { to: number }).to = this.#now;
    this.story.push(`${name} ${up ? 'has its broker again' : 'loses its broker'}`);
  }

  /** What was committed goes to the network, where its service has a broker: as the relay does, with a copy for each consumer. */
  async #publish(): Promise<void> {
    for (const name of this.#unpublished) {
      if (!this.links[name].up) continue;
      this.#unpublished.delete(name);
      for (const { type, body } of await this.#parties[name].outbox.take(this.correlationId)) {
        const event = JSON.parse(body) as CloudEvent<{ orderId: string }>;
        this.told.push(event);
        this.orderId ??= event.data.orderId;
        for (const to of ['order', 'payment'] as const)
          if (this.#handlerOf(to, event) !== undefined) this.#network.push({ to, type, body });
      }
    }
  }

  #pick(message: number): Message | undefined {
    return at(
      this.#network.filter(({ to }) => this.links[to].up),
      message,
    );
  }

  #handlerOf(to: Name, { dataschema }: CloudEvent): (BoundHandler & { queue: string }) | undefined {
    const { broker, handlers = {} } = this.#parties[to].description;
    return eventQueues(broker)
      .flatMap(([queue, declared]) =>
        bindHandlers(declared, handlers[queue]).map((each) => ({ ...each, queue })),
      )
      .find(({ event }) => event.dataschema === dataschema);
  }

  /** As the chassis's consumer does. */
  async #deliver(message: Message | undefined, ack: 'given' | 'lost' | 'failed'): Promise<void> {
    if (message === undefined || !this.links[message.to].up) return;
    const { to, type, body } = message;
    const handler = this.#handlerOf(to, JSON.parse(body));
    if (handler === undefined) return;
    const event = parseEvent(Buffer.from(body), [handler.event]);
    const flight = to === 'payment' && this.#held.some((held) => held.at === 'payment');
    const origin = { correlationId: event.correlationid ?? event.id, log };
    let outcome = 'a duplicate';
    const piece = {
      key: event.subject ?? event.id,
      origin,
      run: async (work: WorkContext) => {
        await handler.handle(event, work);
        if (ack === 'failed') throw new RolledBack();
        outcome = 'handled';
      },
    };
    const first: BatchOptions<typeof piece>['first'] = async (run) => {
      const { rows } = await run(insertMessages(handler.queue, [{ id: event.id }]));
      return rows.length === 1 ? [piece] : [];
    };
    await this.#units[to].batch([piece], { first }).catch((error: Error) => {
      if (!(error.cause instanceof RolledBack)) throw error;
      outcome = 'rolled back';
    });
    this.story.push(`${type} is delivered to ${to}: ${outcome}${ack === 'lost' ? ', not acknowledged' : ''}`);
    const place = this.#network.indexOf(message);
    if (ack === 'given' && place >= 0) this.#network.splice(place, 1);
    this.#opened ||= outcome === 'handled' && type === 'order.created';
    this.seen.add(outcome);
    if (outcome === 'handled' && type === 'order.cancelled') {
      if (flight) this.seen.add('cancelled in flight');
      if (!this.#opened) this.seen.add('cancelled before created');
    }
  }

  // --- Workers: as the chassis's do it, a step at a time ---

  /** @returns whether there was a task to begin */
  async #begin(name: Name, over: boolean): Promise<boolean> {
    if (this.orderId === undefined) return false;
    const { database, description } = this.#parties[name];
    const workers = description.workers ?? [];
    const holder = randomUUID();
    const key =
      name === 'order'
        ? sql`${this.orderId}`
        : sql`(select id::text from payments where order_id = ${this.orderId})`;
    const { rows } = await sql<Task>`
      update warren.tasks set lease = ${holder}, attempts = attempts + 1
      where id = (
        select id from warren.tasks
        where kind = any (${workers.map(({ kind }) => kind)}) and key = ${key}
          and due_at <= greatest(${new Date(this.#now)}, clock_timestamp()) and (lease is null or ${over})
        for update skip locked limit 1)
      returning id, kind, key, data, attempts`.execute(database.kysely);
    const [task] = rows;
    if (task === undefined) return false;
    const worker = workers.find(({ kind }) => kind === task.kind) as Worker;
    this.#held.push({ at: name, holder, worker, task });
    this.story.push(`a worker begins ${task.kind}, attempt ${task.attempts}`);
    if (task.attempts > 1) this.seen.add('attempted again');
    return true;
  }

  /** @returns whether the worker has its answer */
  async #ask(held: Held | undefined, answer: 'given' | 'lost' | 'failed'): Promise<boolean> {
    if (held === undefined) return false;
    const { worker, task } = held;
    if (worker.perform === undefined || held.answer !== undefined) return true;
    const { database, config } = this.#parties[held.at];
    const context = {
      signal: new AbortController().signal,
      config: answer === 'failed' ? { ...config, PROVIDER_FAILURE_RATE: 1 } : config,
      log,
      database: database.kysely,
    };
    try {
      const given = await worker.perform(task, context);
      if (answer === 'lost') throw new AnswerLost();
      held.answer = { given };
      return true;
    } catch (error) {
      if (!(error instanceof AnswerLost) && answer !== 'failed') throw error;
      this.#release(held, `is ${answer === 'lost' ? 'not answered' : 'refused for now'} about`);
      await sql`
        update warren.tasks set lease = null
        where id = ${task.id} and lease = ${held.holder} and attempts = ${task.attempts}`.execute(
        database.kysely,
      );
      this.seen.add(`answer ${answer}`);
      return false;
    }
  }

  async #settle(held: Held | undefined): Promise<void> {
    if (!(await this.#ask(held, 'given')) || held === undefined) return;
    const { worker, task, holder } = held;
    const origin = { correlationId: this.correlationId, log };
    const units = this.#units[held.at];
    const kept = await units.run(origin, async (work) => {
      const { numAffectedRows } = await sql`
        delete from warren.tasks where id = ${task.id} and lease = ${holder} and attempts = ${task.attempts}`.execute(
        work.transaction,
      );
      if (numAffectedRows !== 1n) return false;
      await worker.complete(task, held.answer?.given, work);
      return true;
    });
    this.#release(held, kept ? 'settles' : 'has lost its lease to');
    this.seen.add(kept ? 'settled' : 'lease lost');
    if (kept && held.at === 'order' && !this.links.order.up)
      this.seen.add('timed out while the broker was unavailable');
  }

  #release(held: Held, how: string): void {
    const place = this.#held.indexOf(held);
    if (place >= 0) this.#held.splice(place, 1);
    this.story.push(`a worker ${how} ${held.task.kind}, attempt ${held.task.attempts}`);
  }

  /** Whether the order service may give up waiting at this time: it had its broker all the while. */
  mayTimeOut(createdAt: number, at: number): boolean {
    const since = at - PAYMENT_TIMEOUT;
    return createdAt <= since && this.links.order.times.some(({ from, to }) => from <= since && at <= to);
  }

  /** Minor units, and how the provider will take them. */
  get money(): { price: number; currency: string; declined: boolean } {
    const { start, price, currency } = this.#sequence;
    return { price, currency: start === 'welcome' ? 'EUR' : currency, declined: price > LIMIT };
  }
}

class AnswerLost extends Error {}

/** The element at that number, counted round; nothing of nothing. */
const at = <T>(items: readonly T[], number: number): T | undefined => items[number % items.length];
