import type { Auth } from '../auth/auth.ts';
import type { Availability } from '../database/availability.ts';
import type { Messaging } from '../messaging/connection.ts';
import type { Relay } from '../outbox/relay.ts';
import type { DeclaredQueues } from './declared-queues.ts';

/** The parts that a service has, as far as /readyz reports them. */
export interface Reported {
  connection: Messaging | undefined;
  availability: Availability | undefined;
  queues: DeclaredQueues | undefined;
  auth: Auth | undefined;
  relay: Relay | undefined;
}

/** Whether this process is ready for requests: from when it listens and its queues have been declared, until it drains. */
export class Readiness {
  readonly #parts: Reported;
  #stage: 'starting' | 'serving' | 'draining' = 'starting';
  /** Why the start waits for the database. */
  startProblem: string | undefined;

  constructor(parts: Reported) {
    this.#parts = parts;
  }

  get isReady(): boolean {
    return this.#stage === 'serving' && this.#areQueuesDeclared;
  }

  get #areQueuesDeclared(): boolean {
    return this.#parts.queues?.areDeclared ?? true;
  }

  /** It listens. */
  serve(): void {
    this.#stage = 'serving';
  }

  drain(): void {
    this.#stage = 'draining';
  }

  /** The body of /readyz. */
  report(): object {
    const { connection, availability, auth, relay } = this.#parts;
    const databaseProblem = availability?.problem ?? this.startProblem;
    return {
      status: this.#status,
      ...(connection !== undefined && { broker: connection.state }),
      ...(connection?.problem !== undefined && { brokerProblem: connection.problem }),
      ...(availability !== undefined && {
        database: databaseProblem === undefined ? 'connected' : 'unreachable',
      }),
      ...(databaseProblem !== undefined && { databaseProblem }),
      ...(auth !== undefined && { keys: auth.hasKeys ? 'fetched' : 'missing' }),
      ...(!this.#areQueuesDeclared && {
        waitingFor: 'its queues: they have never been declared on the broker',
      }),
      ...(relay !== undefined && { relay: relay.active ? 'active' : 'standby' }),
    };
  }

  get #status(): 'ready' | 'draining' | 'starting' {
    if (this.isReady) return 'ready';
    return this.#stage === 'draining' ? 'draining' : 'starting';
  }
}
