import { expect } from 'chai';
import fc from 'fast-check';
import { createShares } from '../src/shares.ts';
import { createSlots, type Kind } from '../src/slots.ts';

describe('shares', () => {
  it('are a quarter for a client, the whole for all, and come back once', () => {
    const amounts = fc.integer({ min: 1, max: 5 });
    const steps = fc.array(fc.tuple(fc.integer({ min: 0, max: 6 }), amounts, fc.boolean()), {
      maxLength: 200,
    });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), steps, (size, list) => {
        const shares = createShares(size);
        const share = Math.max(1, Math.floor(size / 4));
        let held: { client: string; amount: number; give: () => void }[] = [];
        const sum = (some: typeof held) => some.reduce((total, { amount }) => total + amount, 0);
        for (const [number, amount, back] of list) {
          const client = `client ${number}`;
          const own = held.filter((one) => one.client === client);
          if (back && own[0] !== undefined) {
            own[0].give();
            own[0].give();
            held = held.filter((one) => one !== own[0]);
            continue;
          }
          const give = shares.take(client, amount);
          const fits = sum(held) + amount <= size && sum(own) + amount <= share;
          expect(give !== undefined).to.equal(fits);
          if (give !== undefined) held.push({ client, amount, give });
        }
      }),
    );
  });
});

describe('slots', () => {
  const { signal } = new AbortController();

  it('go to the next who may have one: who holds a share waits on, and does not hold up the others', async () => {
    const slots = createSlots({ size: 4, wait: 5_000, waiting: 40 });
    const order: string[] = [];
    const take = async (client: string) => {
      const give = await slots.take(client, signal);
      order.push(client);
      return give;
    };
    const [a] = await Promise.all(['a', 'b', 'c', 'd'].map(take));
    const waiting = ['b', 'e', 'f'].map(take);
    (a as () => void)();
    (a as () => void)();
    const e = await (waiting[1] as Promise<() => void>);
    expect(order).to.deep.equal(['a', 'b', 'c', 'd', 'e']);
    e();
    const f = await (waiting[2] as Promise<() => void>);
    expect(order.at(-1)).to.equal('f');
    f();
    const g = await take('g');
    g();
    expect(order.at(-1)).to.equal('g');
  });

  it('are kept apart by kind, and so is the queue for them', async () => {
    const slots = createSlots({ size: 10, wait: 50, waiting: 10 });
    const outcome = async (kind: Kind, count: number) => {
      const taken = Array.from({ length: count }, (_, at) =>
        slots.take(`${kind} ${at}`, signal, kind).then(
          () => 'taken',
          (error: Error) => error.message,
        ),
      );
      const all = await Promise.all(taken);
      return ['taken', 'no place became free', 'the queue is full'].map(
        (result) => all.filter((one) => one === result).length,
      );
    };
    expect(await outcome('upload', 6)).to.deep.equal([2, 2, 2]);
    expect(await outcome('read', 20)).to.deep.equal([7, 7, 6]);
    expect(await outcome('write', 1)).to.deep.equal([1, 0, 0]);
  });

  it('have a queue of which a client may fill a quarter', async () => {
    const slots = createSlots({ size: 1, wait: 50, waiting: 8 });
    const held = await slots.take('a', signal);
    const queued = ['a', 'a', 'b'].map((client) =>
      slots.take(client, signal).catch((error) => error.message),
    );
    expect(await slots.take('a', signal).catch((error) => error.message)).to.equal('the queue is full');
    expect(await Promise.all(queued)).to.deep.equal(Array(3).fill('no place became free'));
    held();
    expect(await slots.take('c', signal)).to.be.a('function');
  });
});
