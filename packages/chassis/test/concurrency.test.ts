import { setImmediate as turn } from 'node:timers/promises';
import { expect } from 'chai';
import { abortable, pause, timeLimit, Waker, whenAborted, within } from '../src/concurrency.ts';

const HOUR = 3_600_000;

/** Timers that keep this process running. */
const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
const never = () => new Promise<never>(() => {});

/** Whether the promise is settled after a turn of the event loop. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  const note = () => {
    settled = true;
  };
  promise.then(note, note);
  await turn();
  return settled;
}

describe('concurrency', () => {
  let before: number;

  beforeEach(() => {
    before = timers();
  });
  afterEach('leaves no timer behind', () => expect(timers()).to.be.at.most(before));

  describe('pause', () => {
    it('resolves after its time', async () => {
      const started = performance.now();
      await pause(20);
      expect(performance.now() - started).to.be.at.least(18);
    });

    it('ends when its signal aborts, also one that aborted before', async () => {
      const controller = new AbortController();
      const pausing = pause(HOUR, controller.signal);
      expect(await isSettled(pausing)).to.equal(false);
      controller.abort();
      await pausing;
      await pause(HOUR, controller.signal);
    });

    it('does not end at once when its time is longer than a timer can take', async () => {
      const controller = new AbortController();
      const pausing = pause(2 ** 40, controller.signal);
      expect(await isSettled(pausing)).to.equal(false);
      controller.abort();
      await pausing;
    });
  });

  describe('within', () => {
    it('resolves to the result, and to undefined after its time', async () => {
      expect(await within(HOUR, Promise.resolve(7))).to.equal(7);
      expect(await within(5, never())).to.equal(undefined);
    });

    it('rejects with the error of the work', async () => {
      const error = await within(HOUR, Promise.reject(new Error('broken'))).catch((thrown) => thrown);
      expect(error.message).to.equal('broken');
    });
  });

  describe('timeLimit', () => {
    it('aborts with a TimeoutError after its time', async () => {
      const limit = timeLimit(5);
      // Its own timer does not keep a process running.
      const running = setInterval(() => {}, 1_000);
      await whenAborted(limit.signal);
      clearInterval(running);
      expect(limit.signal.reason.name).to.equal('TimeoutError');
    });

    it('does not abort once it is cleared', async () => {
      const limit = timeLimit(5);
      limit.clear();
      await pause(20);
      expect(limit.signal.aborted).to.equal(false);
    });
  });

  describe('abortable', () => {
    it('settles as the promise does', async () => {
      const { signal } = new AbortController();
      expect(await abortable(Promise.resolve(7), signal)).to.equal(7);
      expect(await abortable(Promise.resolve(8), undefined)).to.equal(8);
      const error = await abortable(Promise.reject(new Error('broken')), signal).catch((thrown) => thrown);
      expect(error.message).to.equal('broken');
    });

    it('rejects with the reason when the signal aborts first, or has aborted before', async () => {
      const controller = new AbortController();
      const waiting = abortable(never(), controller.signal);
      controller.abort('late');
      expect(await waiting.catch((reason) => reason)).to.equal('late');
      expect(await abortable(never(), controller.signal).catch((reason) => reason)).to.equal('late');
    });

    it('handles an error of the promise that comes after the abort', async () => {
      const { promise, reject } = Promise.withResolvers<never>();
      expect(await abortable(promise, AbortSignal.abort('late')).catch((reason) => reason)).to.equal('late');
      reject(new Error('unhandled, if nobody listens'));
      await turn();
    });
  });

  describe('whenAborted', () => {
    it('resolves when the signal aborts, also one that aborted before', async () => {
      const controller = new AbortController();
      const waiting = whenAborted(controller.signal);
      expect(await isSettled(waiting)).to.equal(false);
      controller.abort();
      await waiting;
      await whenAborted(controller.signal);
    });
  });

  describe('a Waker', () => {
    it('sleeps until its time is over, until it is nudged, or until it is woken', async () => {
      const waker = new Waker();
      await waker.sleep(5);
      for (const end of [() => waker.nudge(), () => waker.wake()]) {
        const sleeping = waker.sleep(HOUR);
        expect(await isSettled(sleeping)).to.equal(false);
        end();
        await sleeping;
      }
    });

    it('does not sleep once it is woken, until it is reset', async () => {
      const waker = new Waker();
      waker.wake();
      expect(waker.isWoken).to.equal(true);
      await waker.sleep(HOUR);
      await waker.sleepUntil(() => false, HOUR);
      waker.reset();
      expect(waker.isWoken).to.equal(false);
      const sleeping = waker.sleep(HOUR);
      expect(await isSettled(sleeping)).to.equal(false);
      waker.nudge();
      await sleeping;
    });

    it('forgets a nudge that meets no sleep', async () => {
      const waker = new Waker();
      waker.nudge();
      const sleeping = waker.sleep(HOUR);
      expect(await isSettled(sleeping)).to.equal(false);
      waker.nudge();
      await sleeping;
    });

    it('sleeps until a condition holds, which it checks at every nudge', async () => {
      const waker = new Waker();
      let count = 0;
      const sleeping = waker.sleepUntil(() => count === 2, HOUR);
      for (count = 1; count < 3; count += 1) {
        waker.nudge();
        expect(await isSettled(sleeping)).to.equal(count === 2);
      }
      await new Waker().sleepUntil(() => false, 5);
    });
  });
});
