import type { Check } from '../check.ts';
import { type Context, NotChecked } from '../context.ts';
import type { Draft } from '../draft.ts';
import { DEFAULTS } from '../options.ts';
import { restart, serviceOf } from '../restart.ts';

const KILLS = 3;
/** How often more messages are published if the service was done before it was killed. */
const ROUNDS = 3;

export const crash: Check = {
  name: 'crash',
  demands: `The service is killed (SIGKILL) ${KILLS} times while it handles many events, and started again: each event has its effect once. Needs \`--start\` or \`--pid\`.`,
  why: 'A service that acknowledges before the commit loses the event; one without an inbox in the transaction of the effect doubles it.',
  async run(context) {
    const service = serviceOf(context);
    const kills = service.restarts ? KILLS : 1;
    let killed = 0;
    for (let round = 1; round <= ROUNDS && killed === 0; round += 1) {
      const size = (context.options.load ?? DEFAULTS.load) * round;
      const drafts = Array.from({ length: size }, (_, index) =>
        context.draft(`event ${index + 1} of ${size} that were published before a crash`),
      );
      await context.publish(...drafts);
      killed = await killWhileBusy(context, drafts, kills);
      await context.haveOneEffect(drafts);
    }
    if (killed === 0)
      throw new NotChecked('the service had handled all messages before it was killed: give a larger --load');
  },
};

/** Kills the service when a part of the messages has had its effect. @returns how often there were messages left */
async function killWhileBusy(context: Context, drafts: readonly Draft[], kills: number): Promise<number> {
  const service = serviceOf(context);
  const { queue } = context.subject;
  let busy = 0;
  for (let kill = 0; kill < kills; kill += 1) {
    const mark = drafts[Math.floor((drafts.length * kill) / kills)] as Draft;
    if (!(await context.until(async () => ((await context.effects.count(mark)) > 0 ? 'done' : 'waiting'))))
      return busy;
    await service.kill();
    await context.until(async () =>
      (await context.wire.queue(queue))?.consumers === 0 ? 'done' : 'waiting',
    );
    const left = (await context.wire.queue(queue))?.ready ?? 0;
    await restart(service, context);
    if (left === 0) return busy;
    busy += 1;
  }
  return busy;
}
