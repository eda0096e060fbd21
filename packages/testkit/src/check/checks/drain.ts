import type { Check } from '../check.ts';
import { type Context, NotChecked } from '../context.ts';
import type { Draft } from '../draft.ts';
import { DEFAULTS } from '../options.ts';
import { restart, serviceOf } from '../restart.ts';

export const drain: Check = {
  name: 'drain',
  demands:
    'SIGTERM while events arrive: the service ends within its grace period although more of them come, and after the next start every event has its effect once; none was retried or dead-lettered. Needs `--start` or `--pid`.',
  why: 'A deploy loses nothing. A service that does not end is killed by Kubernetes. The exit code is not looked at.',
  async run(context) {
    const service = serviceOf(context);
    const grace = context.options.grace ?? DEFAULTS.grace;
    const drafts = await busy(context);
    const ending = service.stop(grace);
    drafts.push(...(await publishUntil(context, ending)));
    if ((await ending) === undefined) context.fault(`the service did not end within ${grace} ms of SIGTERM`);
    await restart(service, context);
    await context.haveOneEffect(drafts);
    context.areAccepted(drafts);
  },
};

/** How often more messages are published if the service has handled all before SIGTERM. */
const ROUNDS = 4;

/** Messages of which the service has handled some, and not all. */
async function busy(context: Context): Promise<Draft[]> {
  const drafts: Draft[] = [];
  for (let round = 1; round <= ROUNDS; round += 1) {
    const size = (context.options.load ?? DEFAULTS.load) * round;
    const next = Array.from({ length: size }, (_, index) =>
      context.draft(`event ${drafts.length + index + 1} that was published before SIGTERM`),
    );
    drafts.push(...next);
    await context.publish(...next);
    const [first, last] = [next[0] as Draft, next.at(-1) as Draft];
    await context.until(async () => ((await context.effects.count(first)) > 0 ? 'done' : 'waiting'));
    if ((await context.effects.count(last)) === 0) return drafts;
  }
  throw new NotChecked('the service had handled all messages before SIGTERM: give a larger --load');
}

/** Keeps the queue from running dry. */
async function publishUntil(context: Context, end: Promise<unknown>): Promise<Draft[]> {
  const drafts: Draft[] = [];
  let ended = false;
  void end.finally(() => {
    ended = true;
  });
  await context.until(async () => {
    if (ended) return 'done';
    const draft = context.draft(`event ${drafts.length + 1} that was published after SIGTERM`);
    drafts.push(draft);
    await context.publish(draft);
    return 'progress';
  });
  return drafts;
}
