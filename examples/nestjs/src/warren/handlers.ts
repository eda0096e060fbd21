import { Injectable } from '@nestjs/common';
import { DiscoveryService, MetadataScanner } from '@nestjs/core';
import { OnEvent, OnRequest } from './decorators.ts';

type Handler = (...parameters: unknown[]) => Promise<never>;

/** Finds the decorated methods of all providers. */
@Injectable()
export class Handlers {
  constructor(
    private readonly discovery: DiscoveryService,
    private readonly scanner: MetadataScanner,
  ) {}

  events() {
    return this.decorated(OnEvent);
  }

  requests() {
    return this.decorated(OnRequest);
  }

  private decorated<Decorator extends typeof OnEvent | typeof OnRequest>(decorator: Decorator) {
    return this.discovery.getProviders().flatMap((wrapper) => {
      const { instance } = wrapper;
      if (!instance || !Object.getPrototypeOf(instance)) return [];
      return this.scanner.getAllMethodNames(Object.getPrototypeOf(instance)).flatMap((name) => {
        const contract = this.discovery.getMetadataByDecorator(decorator, wrapper, name);
        const handle: Handler = (...parameters) => instance[name](...parameters);
        return contract === undefined ? [] : [{ contract, handle }];
      });
    });
  }
}
