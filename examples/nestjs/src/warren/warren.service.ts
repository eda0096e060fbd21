import {
  type BeforeApplicationShutdown,
  Inject,
  Injectable,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
} from '@nestjs/common';
import { typeormAdapter } from '@warren/chassis/adapters/typeorm';
import { createConsumer, type Work } from '@warren/chassis/inbox';
import { createMessaging, type Messaging } from '@warren/chassis/messaging';
import { createRelay, type OutboxRelay } from '@warren/chassis/outbox';
import { createRequests, handles } from '@warren/chassis/rpc';
import type { AnyEvent } from '@warren/events';
import { DataSource, type EntityManager } from 'typeorm';
import { Handlers } from './handlers.ts';
import { log } from './log.ts';

export const WARREN_OPTIONS = Symbol('WARREN_OPTIONS');

export interface WarrenOptions {
  /** The name of this service, e.g. `loyalty`: its queues and its events begin with it. */
  service: string;
  /** Of the database that the TypeORM module uses. */
  databaseUrl: string;
  brokerUrl: string;
  /** The events that it emits. */
  publications: readonly AnyEvent[];
}

/** The second argument of an `@OnEvent` method. */
export type EventWork = Work<EntityManager>;

/** Starts with the application, and drains at its shutdown: handlers first, then the outbox. */
@Injectable()
export class WarrenService
  implements OnApplicationBootstrap, BeforeApplicationShutdown, OnApplicationShutdown
{
  readonly relay: OutboxRelay;
  private readonly messaging: Messaging;
  private subscribed = false;

  constructor(
    @Inject(WARREN_OPTIONS) private readonly options: WarrenOptions,
    private readonly dataSource: DataSource,
    private readonly handlers: Handlers,
  ) {
    const { service, databaseUrl, brokerUrl } = options;
    this.relay = createRelay({ service, databaseUrl, brokerUrl, log });
    this.messaging = createMessaging({ service, brokerUrl, hooks: { log } });
  }

  onApplicationBootstrap(): void {
    const { messaging, relay } = this;
    const { publications } = this.options;
    const adapter = typeormAdapter(this.dataSource);
    const methods = this.handlers.requests().map(({ contract, handle }) => handles(contract, handle));
    // All of them are created before the first one starts, which opens the connection.
    const started = [
      ...(methods.length > 0 ? [createRequests({ messaging, methods })] : []),
      ...this.handlers
        .events()
        .map(({ contract: event, handle: handler }) =>
          createConsumer({ messaging, adapter, publications, relay, event, handler }),
        ),
    ];
    for (const each of started) each.start();
    relay.start();
    void messaging.connected().then(() => {
      this.subscribed = true;
    });
  }

  /** Before TypeORM closes the pool, which it does in `onApplicationShutdown`. */
  async beforeApplicationShutdown(): Promise<void> {
    await this.messaging.stop({ timeout: 5_000 });
  }

  /** After the last HTTP request; the relay has a connection of its own. */
  async onApplicationShutdown(): Promise<void> {
    await this.relay.stop({ timeout: 5_000 });
  }

  /** Why it does not consume or publish, for a readiness check. */
  get problem(): string | undefined {
    const { messaging, relay, subscribed } = this;
    return messaging.problem ?? relay.problem ?? (subscribed ? undefined : 'The queues are not declared yet');
  }
}
