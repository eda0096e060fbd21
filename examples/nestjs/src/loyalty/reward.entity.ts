import { Column, Entity, PrimaryColumn } from 'typeorm';

/** The points of one order: its primary key makes the reward idempotent whatever delivers it. */
@Entity('rewards')
export class Reward {
  @PrimaryColumn('uuid', { name: 'order_id' })
  orderId!: string;

  @Column('uuid', { name: 'user_id' })
  userId!: string;

  @Column('integer')
  points!: number;
}

/** The total of a user. */
@Entity('accounts')
export class Account {
  @PrimaryColumn('uuid', { name: 'user_id' })
  userId!: string;

  @Column('integer')
  points!: number;
}
