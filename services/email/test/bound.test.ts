import type { RunningService } from '@warren/chassis';
import { client, eventually, freePort, withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import fc from 'fast-check';
import { customer } from './events.ts';
import { launchEmail } from './launch.ts';
import { type MailServer, startMailServer } from './mail-server.ts';

const HOUR = 3_600_000;

describe('the e-mails to one address in an hour', function () {
  this.timeout(120_000);
  const broker = withBroker({ services: ['email'] });
  const database = withDatabase();
  const services: RunningService[] = [];
  const servers: MailServer[] = [];

  const mailServer = async (port = 0) => {
    const server = await startMailServer({ port });
    servers.push(server);
    return server;
  };
  const launch = async (smtp: string, env: Record<string, string> = {}) => {
    const email = await launchEmail(
      { broker, database, smtp },
      {
        EMAILS_PER_HOUR: '3',
        ...env,
      },
    );
    services.push(email);
    return email;
  };
  afterEach(async () => {
    await Promise.all(services.splice(0).map((email) => email.stop()));
    await Promise.all(servers.splice(0).map((server) => server.stop()));
    await database.admin('truncate emails, users, recipients, warren.tasks');
  });

  type Customer = ReturnType<typeof customer>;
  /** The same user, and another order. */
  const order = (of: Customer) => {
    const other = customer();
    const [exchange, key, content, properties] = other.ordered();
    const text = content.toString().replaceAll(other.userId, of.userId);
    return [exchange, key, Buffer.from(text), properties] as const;
  };
  const itemsOf = async (userId: string): Promise<Record<string, string>[]> =>
    (await client(services[0]?.url as string).get(`/emails?userId=${userId}&limit=100`)).body.items;
  const counts = async (wanted: Record<string, number>) => {
    const rows = await database.admin<{ state: string; n: number }>(
      `select case when status = 'pending' and slot_at > now() then 'postponed' else status end as state, count(*)::int as n
       from emails group by 1`,
    );
    expect(Object.fromEntries(rows.map(({ state, n }) => [state, n]))).to.deep.equal(wanted);
  };
  const become = (wanted: Record<string, number>) => eventually(() => counts(wanted), { timeout: 30_000 });
  const hoursPass = (hours: number) =>
    database.admin(`
      with slots as (update recipients set slots = array(
                       select at - interval '${hours} hour' from unnest(slots) with ordinality as s (at, n) order by n)),
           emails as (update emails set slot_at = slot_at - interval '${hours} hour')
      update warren.tasks set due_at = due_at - interval '${hours} hour' where lease is null`);
  const slots = async () =>
    (await database.admin<{ slot_at: Date }>('select slot_at from emails order by slot_at')).map(
      ({ slot_at }) => slot_at.getTime(),
    );
  const expectBound = (times: number[], perHour: number) => {
    for (let at = perHour; at < times.length; at += 1)
      expect((times[at] as number) - (times[at - perHour] as number)).to.be.at.least(HOUR);
  };

  it('are at most EMAILS_PER_HOUR; the others wait, and are sent later in order', async () => {
    const mail = await mailServer();
    const email = await launch(mail.url);
    const [ada, eve] = [customer(), customer()];
    await broker.publish(...ada.created());
    await become({ sent: 1 });
    for (let n = 2; n <= 10; n += 1) {
      await broker.publish(...order(ada));
      await eventually(async () => expect(await itemsOf(ada.userId)).to.have.length(n));
    }
    await become({ sent: 3, postponed: 7 });
    expectBound(await slots(), 3);
    await broker.publish(...eve.created());
    await mail.waitFor(eve.email, 1, 30_000);
    const states = (await itemsOf(ada.userId)).map(({ status, reason = '' }) => `${status} ${reason}`);
    expect(states).to.deep.equal([...Array(3).fill('sent '), ...Array(7).fill('pending postponed')]);
    const { text } = await client(email.adminUrl).get('/metrics');
    expect(text).to.match(/emails_held_total\{[^}]*reason="postponed"[^}]*\} 7\b/);

    const ids = (await itemsOf(ada.userId)).map(({ id }) => `<${id}@warren.example>`);
    for (const sent of [6, 9, 10]) {
      await hoursPass(1);
      await become({ sent: sent + 1, ...(sent < 10 && { postponed: 10 - sent }) });
      const arrived = mail.to(ada.email).map(({ mail: { messageId } }) => messageId);
      expect(arrived).to.have.members(ids.slice(0, sent));
    }
  });

  it('are counted across replicas, users and upper or lower case', async () => {
    const mail = await mailServer();
    await launch(mail.url);
    await launch(mail.url);
    const addresses = ['ada@example.com', 'Ada@example.com', 'ada@Example.com', 'ADA@example.com'];
    const customers = addresses.map((email) => customer({ email }));
    await Promise.all(
      customers.flatMap((each) => [
        broker.publish(...each.ordered()),
        broker.publish(...each.created()),
        ...Array.from({ length: 4 }, () => broker.publish(...order(each))),
      ]),
    );
    await become({ sent: 3, postponed: 21 });
    expectBound(await slots(), 3);
    for (let sent = 6; sent <= 24; sent += 3) {
      await hoursPass(1);
      await become({ sent, ...(sent < 24 && { postponed: 24 - sent }) });
    }
    expect(mail.received).to.have.length(24);
    expect(new Set(mail.received.map(({ mail: { messageId } }) => messageId)).size).to.equal(24);
  });

  it('do not exceed the limit after an outage of the mail server', async () => {
    const port = await freePort();
    await launch(`smtp://127.0.0.1:${port}`);
    const ada = customer();
    await broker.publish(...ada.created());
    for (let n = 1; n <= 7; n += 1) await broker.publish(...order(ada));
    await eventually(async () => expect(await itemsOf(ada.userId)).to.have.length(8));
    await Promise.all(services.splice(0).map((email) => email.stop()));
    // All of them are due, and have been for more than an hour.
    await database.admin('update warren.tasks set due_at = now(), lease = null');
    await database.admin(`update emails set slot_at = slot_at - interval '4 hours'`);
    await database.admin(
      `update recipients set slots = array(select at - interval '4 hours' from unnest(slots) with ordinality as s (at, n) order by n)`,
    );
    const mail = await mailServer(port);
    await launch(mail.url);
    await become({ sent: 3, postponed: 5 });
    expectBound(await slots(), 3);
    for (const sent of [6, 8]) {
      await hoursPass(1);
      await become({ sent, ...(sent < 8 && { postponed: 8 - sent }) });
    }
    expect(mail.to(ada.email)).to.have.length(8);
  });

  it('do not exceed the limit when a confirmation releases many', async () => {
    const mail = await mailServer();
    const email = await launch(mail.url, {
      EMAIL_CONFIRMATION: 'on',
      EMAIL_CONFIRMATION_KEY: 'k'.repeat(32),
      PUBLIC_URL: 'http://shop',
    });
    const ada = customer();
    await broker.publish(...ada.created());
    const [{ mail: message } = expect.fail()] = await mail.waitFor(ada.email, 1, 30_000);
    for (let n = 2; n <= 9; n += 1) {
      await broker.publish(...order(ada));
      await eventually(async () => expect(await itemsOf(ada.userId)).to.have.length(n));
    }
    const link = /http:\/\/shop(\S+)/.exec(message.text ?? '')?.[1] as string;
    expect((await client(email.url).post(link, {})).status).to.equal(200);
    await become({ sent: 3, postponed: 6 });
    const times = (await database.admin<{ slot_at: Date }>('select slot_at from emails order by id')).map(
      ({ slot_at }) => slot_at.getTime(),
    );
    expect(times, 'in order').to.deep.equal(times.toSorted((a, b) => a - b));
    expectBound(times, 3);
    for (const sent of [6, 9]) {
      await hoursPass(1);
      await become({ sent, ...(sent < 9 && { postponed: 9 - sent }) });
    }
  });

  it('get their slots from one transaction after the other', async () => {
    const mail = await mailServer();
    await launch(mail.url);
    await database.admin(`select take_slots('shared', 0, 3, now())`);
    // Commits as soon as somebody waits for it.
    const first = database.admin(`
      do $$ begin
        perform take_slots('shared', 3, 3, now());
        while not exists (select from pg_stat_activity where wait_event_type = 'Lock' and query like '%take_slots(''shared''%') loop
          perform pg_sleep(0.01);
          perform pg_stat_clear_snapshot();
        end loop;
      end $$`);
    const waits = `select from pg_stat_activity where wait_event = 'PgSleep' and query like '%take_slots(''shared''%'`;
    await eventually(async () => expect(await database.admin(waits)).to.have.length(1));
    const [row] = await database.admin<{ minutes: number }>(
      `select extract(epoch from (take_slots('shared', 1, 3, now()))[1] - now())::float8 / 60 as minutes`,
    );
    await first;
    expect(row?.minutes).to.be.above(30);
  });

  it('have slots that are in order, as early as can be, and never more than that in any hour', async () => {
    const mail = await mailServer();
    await launch(mail.url);
    const steps = fc.array(
      fc.record({ minutes: fc.integer({ min: 0, max: 90 }), wanted: fc.integer({ min: 0, max: 9 }) }),
      { minLength: 1, maxLength: 8 },
    );
    let runs = 0;
    await fc.assert(
      fc.asyncProperty(steps, fc.integer({ min: 1, max: 4 }), async (given, perHour) => {
        const address = `slots-${runs++}@example.com`;
        let now = Date.UTC(2026, 0, 1);
        const all: number[] = [];
        for (const { minutes, wanted } of given) {
          now += minutes * 60_000;
          const [row] = await database.admin<{ taken: Date[] }>(
            'select take_slots($1, $2, $3, $4) as taken',
            [address, wanted, perHour, new Date(now)],
          );
          const taken = row?.taken.map((at) => at.getTime()) ?? [];
          expect(taken).to.have.length(wanted);
          for (const at of taken) {
            const before = all.at(-perHour);
            const free = all.length < perHour ? now : (before as number) + HOUR;
            expect(at).to.equal(Math.max(now, all.at(-1) ?? 0, free));
            all.push(at);
          }
        }
        expectBound(all, perHour);
      }),
      { numRuns: 40 },
    );
  });
});
