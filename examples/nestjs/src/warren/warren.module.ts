import { type DynamicModule, Module } from '@nestjs/common';
import { DiscoveryModule } from '@nestjs/core';
import { typeormAdapter } from '@warren/chassis/adapters/typeorm';
import { migrate } from '@warren/chassis/migrations';
import { createOutbox } from '@warren/chassis/outbox';
import { DataSource } from 'typeorm';
import { OUTBOX } from './decorators.ts';
import { Handlers } from './handlers.ts';
import { log } from './log.ts';
import { WARREN_OPTIONS, type WarrenOptions, WarrenService } from './warren.service.ts';

@Module({})
// biome-ignore lint/complexity/noStaticOnlyClass: a dynamic module of Nest is a class with `forRoot`
export class WarrenModule {
  /** Needs `TypeOrmModule.forRoot` beside it. Creates the tables `warren.*` at the start. */
  static forRoot(options: WarrenOptions): DynamicModule {
    const { service, publications, databaseUrl } = options;
    const outbox = {
      provide: OUTBOX,
      inject: [DataSource, WarrenService],
      async useFactory(dataSource: DataSource, { relay }: WarrenService) {
        await migrate(databaseUrl, { log });
        return createOutbox({ service, publications, adapter: typeormAdapter(dataSource), relay });
      },
    };
    return {
      module: WarrenModule,
      global: true,
      imports: [DiscoveryModule],
      providers: [{ provide: WARREN_OPTIONS, useValue: options }, Handlers, WarrenService, outbox],
      exports: [WarrenService, outbox],
    };
  }
}
