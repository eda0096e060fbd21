import type { MigrationInterface, QueryRunner } from 'typeorm';

export class CreateTables1764547200000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(
      'create table if not exists rewards (order_id uuid primary key, user_id uuid not null, points integer not null)',
    );
    await runner.query(
      'create table if not exists accounts (user_id uuid primary key, points integer not null)',
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop table accounts, rewards');
  }
}
