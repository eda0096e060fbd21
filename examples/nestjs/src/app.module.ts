import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { loyaltyPoints } from './contracts.ts';
import { CreateTables1764547200000 } from './loyalty/create-tables.migration.ts';
import { LoyaltyController } from './loyalty/loyalty.controller.ts';
import { LoyaltyService } from './loyalty/loyalty.service.ts';
import { Account, Reward } from './loyalty/reward.entity.ts';
import { WarrenModule } from './warren/warren.module.ts';

const { DATABASE_URL: databaseUrl = '', AMQP_URL: brokerUrl = '' } = process.env;

@Module({
  imports: [
    TypeOrmModule.forRoot({
      type: 'postgres',
      url: databaseUrl,
      entities: [Account, Reward],
      migrations: [CreateTables1764547200000],
      migrationsRun: true,
    }),
    TypeOrmModule.forFeature([Account]),
    WarrenModule.forRoot({ service: 'loyalty', databaseUrl, brokerUrl, publications: [loyaltyPoints] }),
  ],
  controllers: [LoyaltyController],
  providers: [LoyaltyService],
})
export class AppModule {}
