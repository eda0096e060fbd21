import { expect } from 'chai';
import { kubectl, podsOf, rolledOut, SERVICES } from './support/kube.ts';
import { withWarren } from './support/warren.ts';

describe('a rolling restart', function () {
  this.timeout(1_800_000);
  const warren = withWarren();

  it('of every deployment, one after another, under load: no request fails, nothing is lost or doubled', async () => {
    await warren.underLoad({}, async () => {
      for (const service of SERVICES) {
        const before = await podsOf(service);
        await kubectl(['rollout', 'restart', `deployment/${service}`]);
        await rolledOut(`deployment/${service}`);
        const uids = before.map(({ uid }) => uid);
        expect(
          (await podsOf(service)).filter(({ uid }) => uids.includes(uid)),
          `pods of ${service} that are the same`,
        ).to.deep.equal([]);
      }
    });
  });
});
