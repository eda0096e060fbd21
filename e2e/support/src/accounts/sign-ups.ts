import { expect } from 'chai';
import { type Auditor, correlations, count, tasks, userIds } from './auditor.ts';
import { differences, none } from './differences.ts';

export const user: Auditor = {
  settled: async () => {},

  async check(system) {
    const users = await system.sql<{ id: string; email: string }>('user', 'select id, email from users');
    expect(
      differences(
        users.map(({ id }) => id),
        userIds(system),
      ),
      'users',
    ).to.deep.equal(none);
    expect(
      differences(
        users.map(({ email }) => email),
        system.ledger.map(({ email }) => email),
      ),
      'e-mail addresses',
    ).to.deep.equal(none);
    const { ofUser } = correlations(system);
    return users.map(({ id }) => ({ type: 'user.created', about: id, correlationIds: [ofUser(id)] }));
  },
};

/** One session for each user. */
export const session: Auditor = {
  async settled(system) {
    expect(await count(system, 'session', 'sessions'), 'sessions').to.be.at.least(system.ledger.length);
  },

  async check(system) {
    const sessions = await system.sql<{ id: string; user_id: string; status: string }>(
      'session',
      'select id, user_id, status from sessions',
    );
    expect(
      differences(
        sessions.map(({ user_id }) => user_id),
        userIds(system),
      ),
      'sessions, by user',
    ).to.deep.equal(none);
    expect((await tasks(system, 'session'))['session.expire'] ?? 0, 'pending expiries').to.equal(
      sessions.filter(({ status }) => status === 'active').length,
    );
    const { ofUser } = correlations(system);
    return sessions.map(({ id, user_id }) => ({
      type: 'session.opened',
      about: id,
      correlationIds: [ofUser(user_id)],
    }));
  },
};
