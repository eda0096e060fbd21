import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { type OrderCreated, orderConfirmed } from '@warren/contracts';
import type { CloudEvent } from '@warren/events';
import { Repository } from 'typeorm';
import { findLoyalty, loyaltyPoints } from '../contracts.ts';
import { OnEvent, OnRequest } from '../warren/decorators.ts';
import type { EventWork } from '../warren/warren.service.ts';
import { Account, Reward } from './reward.entity.ts';

@Injectable()
export class LoyaltyService {
  constructor(@InjectRepository(Account) private readonly accounts: Repository<Account>) {}

  /** One point for a whole unit of the currency. */
  @OnEvent(orderConfirmed)
  async reward({ data }: CloudEvent<OrderCreated>, { transaction, emit }: EventWork): Promise<void> {
    const { orderId, userId } = data;
    const earned = Math.floor(data.price);
    const reward = { orderId, userId, points: earned };
    const inserted = await transaction
      .createQueryBuilder()
      .insert()
      .into(Reward)
      .values(reward)
      .orIgnore()
      .returning('order_id')
      .execute();
    if (inserted.raw.length === 0) return;
    const [{ points: total }] = await transaction.query(
      `insert into accounts (user_id, points) values ($1, $2)
       on conflict (user_id) do update set points = accounts.points + excluded.points returning points`,
      [userId, earned],
    );
    await emit(loyaltyPoints, { userId, orderId, earned, total }, { aggregate: userId });
  }

  @OnRequest(findLoyalty)
  async find({ userId }: { userId: string }): Promise<{ userId: string; points: number }> {
    const account = await this.accounts.findOneBy({ userId });
    return { userId, points: account?.points ?? 0 };
  }
}
