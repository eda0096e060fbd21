import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { client, eventually, freePorts, type RunningProcess, startProcess } from '@warren/testkit';
import { expect } from 'chai';
import { Agent, request } from 'undici';
import { ok, openUpstream, type Upstream } from './upstream.ts';

/** Opens a connection, sends what it is given, and is gone. */
const dropped = (port: number, text: string, when: 'now' | 'answered') =>
  new Promise<void>((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      if (text === '') return void socket.destroy();
      socket.write(text, () => when === 'now' && socket.resetAndDestroy());
    });
    if (when === 'answered') socket.once('data', () => socket.destroy());
    socket.on('error', () => {}).on('close', () => resolve());
  });

describe('a gateway under load', function () {
  this.timeout(120_000);
  let user: Upstream;
  let gateway: RunningProcess;
  let port: number;
  let adminPort: number;

  beforeEach(async () => {
    user = await openUpstream((socket) => setTimeout(ok, 2, socket));
    [port = 0, adminPort = 0] = await freePorts(2);
    gateway = startProcess({
      cwd: fileURLToPath(new URL('..', import.meta.url)),
      entry: 'src/main.ts',
      // With so little of it, what is used is what is needed.
      nodeFlags: ['--max-semi-space-size=2', '--max-old-space-size=96'],
      env: {
        PORT: port,
        ADMIN_PORT: adminPort,
        AMQP_URL: 'amqp://127.0.0.1:9',
        USER_URL: user.url,
        UPSTREAM_CONNECTIONS: 20,
        RATE_LIMIT: 'off',
        LOG_LEVEL: 'fatal',
      },
    });
    await gateway.ready();
  });
  afterEach(async () => {
    await gateway.kill();
    await user.close();
  });

  const metric = async (name: string) => {
    const { text } = await client(`http://127.0.0.1:${adminPort}`).get('/metrics');
    return Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'm').exec(text)?.[1]);
  };

  it('forgets 10,000 connections that were opened and dropped: no descriptor, memory or upstream connection stays', async () => {
    const get = 'GET /users HTTP/1.1\r\nhost: x\r\n\r\n';
    const half = 'POST /users HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc';
    const storm = async (count: number) => {
      const kinds = [
        () => dropped(port, '', 'now'),
        () => dropped(port, 'GET /us', 'now'),
        () => dropped(port, get, 'now'),
        () => dropped(port, half, 'now'),
        () => dropped(port, get, 'answered'),
      ];
      let next = 0;
      const hand = async () => {
        while (next < count) {
          const kind = kinds[next % kinds.length] as () => Promise<void>;
          next += 1;
          await kind();
        }
      };
      await Promise.all(Array.from({ length: 50 }, hand));
    };
    await storm(2_000);
    const descriptors = await metric('process_open_fds');
    const heap = await metric('nodejs_heap_size_used_bytes');
    await storm(10_000);
    await eventually(() => user.connections.filter(({ socket }) => !socket.destroyed).length <= 20);
    await eventually(async () => expect(await metric('process_open_fds')).to.be.at.most(descriptors + 25));
    // 2 KB a connection would be 20 MB.
    await eventually(async () =>
      expect(await metric('nodejs_heap_size_used_bytes')).to.be.lessThan(heap + 20 * 1024 ** 2),
    );
    expect((await request(`http://127.0.0.1:${port}/users`)).statusCode).to.equal(200);
  });

  it('drains under traffic and loses no request', async () => {
    const agent = new Agent({ connections: 16 });
    const answers = { whole: 0, refused: 0, lost: [] as string[] };
    let going = true;
    const hand = async () => {
      while (going) {
        try {
          const { statusCode, body } = await request(`http://127.0.0.1:${port}/users`, {
            method: 'POST',
            body: '{}',
            dispatcher: agent,
          });
          const text = await body.text();
          if (statusCode === 200 && text === 'hello') answers.whole += 1;
          else answers.lost.push(`${statusCode} ${text}`);
        } catch (error) {
          const { code = '' } = error as { code?: string };
          if (code !== 'ECONNREFUSED') answers.lost.push(code);
          else {
            answers.refused += 1;
            return;
          }
        }
      }
    };
    const hands = Array.from({ length: 16 }, hand);
    await eventually(() => answers.whole > 500);
    expect(await gateway.kill('SIGTERM')).to.equal(0);
    going = false;
    await Promise.all(hands);
    await agent.close();
    expect(answers.lost).to.deep.equal([]);
    expect(answers.refused).to.be.greaterThan(0);
    expect(user.heads.length).to.equal(answers.whole);
  });
});
