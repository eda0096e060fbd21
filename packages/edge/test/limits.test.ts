import { expect } from 'chai';
import { CLIENTS, createLimiter, parseRate, type Rate } from '../src/limits.ts';

describe('the rate limit', () => {
  let now = 0;
  const limiter = (text: string) => {
    now = 0;
    return createLimiter(parseRate(text) as Rate, () => now);
  };

  it('grants so many at once, then tells how long to wait, and grants evenly', () => {
    const { take } = limiter('3/1s');
    expect([take('a'), take('a'), take('a'), take('a')]).to.deep.equal([0, 0, 0, 334]);
    now = 334;
    expect([take('a'), take('a')]).to.deep.equal([0, 333]);
    now = 60_000;
    expect([take('a'), take('a'), take('a'), take('a')]).to.deep.equal([0, 0, 0, 334]);
  });

  it('is each client’s own', () => {
    const { take } = limiter('1/1m');
    expect([take('a'), take('b'), take('a')]).to.deep.equal([0, 0, 60_000]);
  });

  it('remembers so many clients and no more: those that asked last', () => {
    const { take } = limiter('1/1h');
    take('first');
    take('busy');
    for (let one = 0; one < CLIENTS - 1; one += 1) {
      take(`client ${one}`);
      if (one % 1_000 === 0) take('busy');
    }
    expect(take('busy')).to.be.greaterThan(0);
    expect(take('first')).to.equal(0);
  });

  it('can be off', () => {
    const { take } = limiter('off');
    expect(Array.from({ length: 1_000 }, () => take('a')).every((wait) => wait === 0)).to.equal(true);
  });

  for (const text of ['', 'x', '0/1s', '1/0s', '-1/1s', '1/1x', '1', '1/s1', '1.5/1s'])
    it(`refuses RATE_LIMIT=${text}`, () => expect(parseRate(text)).to.equal(undefined));
});
