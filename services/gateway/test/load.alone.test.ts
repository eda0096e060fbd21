import { connect, type Socket } from 'node:net';
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

  const startGateway = (env: Record<string, string> = {}) =>
    startProcess({
      cwd: fileURLToPath(new URL('..', import.meta.url)),
      entry: 'src/main.ts',
      // With so little of it, what is used is what is needed.
      nodeFlags: ['--max-semi-space-size=16', '--max-old-space-size=96'],
      env: {
        PORT: port,
        ADMIN_PORT: adminPort,
        AMQP_URL: 'amqp://127.0.0.1:9',
        USER_URL: user.url,
        UPSTREAM_CONNECTIONS: 20,
        RATE_LIMIT: 'off',
        LOG_LEVEL: 'fatal',
        ...env,
      },
    });

  beforeEach(async () => {
    user = await openUpstream((socket) => setTimeout(ok, 2, socket));
    [port = 0, adminPort = 0] = await freePorts(2);
    gateway = startGateway();
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

  it('releases descriptors, memory and upstream connections of 10,000 dropped connections', async () => {
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

  /** Connections that stay, a hundred opened at a time; each has sent `text`. */
  const hold = async (count: number, text: (at: number) => string, addressOf: (at: number) => string) => {
    const sockets: Socket[] = [];
    const hand = async () => {
      while (sockets.length < count) {
        const at = sockets.length;
        const socket = connect({ port, host: '127.0.0.1', localAddress: addressOf(at) });
        sockets.push(socket);
        socket.on('error', () => {});
        await new Promise<void>((resolve) => {
          socket.once('close', () => resolve());
          socket.once('connect', () => socket.write(text(at), () => resolve()));
        });
      }
    };
    await Promise.all(Array.from({ length: 100 }, hand));
    return sockets;
  };

  it('holds all unfinished headers that it accepts in 256 MiB, and serves requests afterwards', async () => {
    const head = `GET /users HTTP/1.1\r\nhost: x\r\nx: ${'a'.repeat(15_000)}`;
    const sockets = await hold(
      4_500,
      () => head,
      (at) => `127.0.0.${2 + (at % 9)}`,
    );
    expect(await metric('process_resident_memory_bytes')).to.be.lessThan(256 * 1024 ** 2);
    for (const socket of sockets) socket.destroy();
    await eventually(async () =>
      expect((await request(`http://127.0.0.1:${port}/users`)).statusCode).to.equal(200),
    );
  });

  it('refuses none of 2,000 clients behind one trusted proxy', async () => {
    await gateway.kill();
    [port = 0, adminPort = 0] = await freePorts(2);
    gateway = startGateway({ TRUST_PROXY: '127.0.0.0/8', RATE_LIMIT: '100/1s', UPSTREAM_WAIT: '30s' });
    await gateway.ready();
    const sockets: Socket[] = [];
    const refused: string[] = [];
    const hand = async () => {
      while (sockets.length < 2_000) {
        const at = sockets.length;
        const socket = connect({ port, host: '127.0.0.1' });
        sockets.push(socket);
        socket.setEncoding('latin1').on('error', () => {});
        const client = `203.0.${at >> 8}.${at & 255}:51001`;
        const answer = await new Promise<string>((resolve) => {
          socket.once('data', resolve).once('close', () => resolve('closed'));
          socket.write(`GET /users HTTP/1.1\r\nhost: x\r\nx-forwarded-for: ${client}\r\n\r\n`);
        });
        if (!answer.startsWith('HTTP/1.1 200 ')) refused.push(answer);
      }
    };
    await Promise.all(Array.from({ length: 50 }, hand));
    expect(refused).to.deep.equal([]);
    for (const socket of sockets) socket.destroy();
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
