import { query } from '@warren/testkit';
import { expect } from 'chai';
import { runFlow } from '../src/flow.ts';
import { compilePeers } from '../src/peers.ts';
import type { Stage } from '../src/stage.ts';
import { flowSystems, type System } from '../src/systems.ts';
import { openTestStage } from './fixtures/stage.ts';

/** The payment for the last of 20 orders, which costs 20.00, is written twice. */
const DOUBLE = `
  create function double() returns trigger language plpgsql as $$
  begin
    insert into payments select gen_random_uuid(), new.order_id, new.user_id, new.amount, new.currency, new.status;
    return null;
  end $$;
  create trigger double after insert on payments for each row
    when (new.amount = 2000 and pg_trigger_depth() = 0) execute function double();`;

describe('a run of a system', () => {
  let stage: Stage;
  const system = flowSystems().find(({ name }) => name === 'by-hand') as System;
  const settings = { orders: 20, closedSeconds: 10, openSeconds: 1, warmUpOrders: 5, clients: 4 };

  before(async () => {
    compilePeers();
    stage = await openTestStage(3);
  });
  after(() => stage.close());

  it('has figures of both loops, and keeps its accounts', async () => {
    const { faults, closed, open } = await runFlow(stage, system, { round: 1, settings, rateOf: () => 10 });
    expect(faults).to.deep.equal([]);
    expect(closed?.orders).to.equal(20);
    expect(closed?.paidPerSecond).to.be.greaterThan(0);
    expect(open?.orders).to.equal(10);
    expect(open?.paid.p99).to.be.greaterThan(0);
  });

  it('is failed when an order was paid twice', async () => {
    const fill = async (running: { databaseUrl(service: string): string }) =>
      void (await query(running.databaseUrl('payment'), DOUBLE));
    const { faults } = await runFlow(stage, system, { round: 1, settings, rateOf: () => 0, fill });
    expect(faults).to.have.length(1);
    expect(faults[0]).to.match(/^1 orders were paid more than once, e\.g\. [0-9a-f-]{36}$/);
  });
});
