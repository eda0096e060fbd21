import { expect } from 'chai';
import { eventually } from '../src/index.ts';

describe('eventually', () => {
  it('gives what the first try that worked gave', async () => {
    let tries = 0;

    const answer = await eventually(
      () => {
        tries += 1;
        if (tries === 1) throw new Error('not yet');
        return tries > 2 && { tries };
      },
      { interval: 1 },
    );

    expect(answer).to.deep.equal({ tries: 3 });
  });

  it('throws the last error at the deadline', async () => {
    const never = eventually(() => expect(1).to.equal(2), { timeout: 20, interval: 5 });

    expect(await never.catch((error: Error) => error.message)).to.equal('expected 1 to equal 2');
  });

  it('says that it did not become true, when there was no error', async () => {
    const never = eventually(() => false, { timeout: 20, interval: 5 });

    expect(await never.catch((error: Error) => error.message)).to.include('within 20 ms');
  });
});
