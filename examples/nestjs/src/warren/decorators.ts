import { Inject } from '@nestjs/common';
import { DiscoveryService } from '@nestjs/core';
import type { AnyEvent, MethodDefinition } from '@warren/events';

export const OUTBOX = Symbol('OUTBOX');

/** Injects the `Outbox`. */
export const InjectOutbox = () => Inject(OUTBOX);

/**
 * The method handles an event, in a transaction that is committed after it: `(event, work) => Promise<void>`.
 * @example @OnEvent(orderConfirmed) async reward({ data }: CloudEvent<OrderCreated>, { transaction }: EventWork) { … }
 */
export const OnEvent = DiscoveryService.createDecorator<AnyEvent>();

/**
 * The method handles the requests of other services, and only reads: `(request, work) => Promise<reply>`.
 * @example @OnRequest(findLoyalty) find({ userId }: { userId: string }) { … }
 */
export const OnRequest = DiscoveryService.createDecorator<MethodDefinition>();
