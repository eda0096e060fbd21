import { once } from 'node:events';
import { connect } from 'node:net';
import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import { get } from '../src/http/routes.ts';
import { seldom } from '../src/telemetry/seldom.ts';
import { closeWebs, openWeb } from './http-fixture.ts';

const say = async (port: number, text: string) => {
  const socket = connect(port, '127.0.0.1', () => void socket.write(text));
  let answer = '';
  socket.setEncoding('latin1').on('data', (chunk) => {
    answer += chunk;
  });
  socket.on('error', () => {});
  await once(socket, 'close');
  return answer;
};

describe('a malformed request', () => {
  afterEach(closeWebs);

  it('is counted by its reason, and logged once in a while, in few words', async () => {
    const { port, lines, metrics } = await openWeb({
      routes: [get('/mine', { access: 'public' }, async () => ({}))],
    });
    const long = 'a'.repeat(8_000);
    for (let round = 0; round < 20; round += 1)
      expect(await say(port, `BREW /${long} HTTP/1.1\r\n\r\n`)).to.match(/^HTTP\/1\.1 400 /);
    expect(await say(port, `GET / HTTP/1.1\r\nx: ${long}${long}${long}\r\n\r\n`)).to.match(
      /^HTTP\/1\.1 431 /,
    );
    expect(await say(port, 'GET http://[x/ HTTP/1.1\r\nhost: x\r\n\r\n')).to.match(/^HTTP\/1\.1 400 /);
    const counts = Object.fromEntries(
      (await metrics.httpMalformed.get()).values.map(({ labels, value }) => [labels.reason, value]),
    );
    expect(counts).to.deep.equal({ invalid: 21, too_large: 1, too_slow: 0 });
    const told = lines.filter(({ msg }) => msg === 'malformed request refused');
    expect(told.length).to.be.within(1, 10);
    expect(told[0]).to.include({ level: 'warn', reason: 'invalid', code: 'HPE_INVALID_METHOD', omitted: 0 });
    expect(String(told[0]?.address)).to.contain('127.0.0.1');
    for (const line of told) expect(JSON.stringify(line).length).to.be.lessThan(1_000);
  });

  it('is not what a client is that only connects, or leaves', async () => {
    const { port, http, metrics } = await openWeb({ routes: [] });
    for (const text of ['', 'GET / HTTP/1.1\r\nhost: x\r\n']) {
      const socket = connect(port, '127.0.0.1', () => socket.write(text, () => socket.resetAndDestroy()));
      await once(socket, 'close');
    }
    await http.drain();
    const { values } = await metrics.httpMalformed.get();
    expect(values.reduce((sum, { value }) => sum + value, 0)).to.equal(0);
  });
});

describe('a path', () => {
  afterEach(closeWebs);

  it('is logged up to 1,000 characters', async () => {
    const { url, access } = await openWeb({ routes: [] });
    await fetch(`${url}/${'a'.repeat(6_000)}`, { headers: { 'x-correlation-id': 'long' } });
    const line = await eventually(() => access('long') ?? false);
    expect(line.path).to.equal(`/${'a'.repeat(999)}`);
  });
});

it('what is said seldom is said at once, then once in ten seconds with the number of what was left out', () => {
  let now = 0;
  const lines: [number, string][] = [];
  const say = seldom(
    (omitted: number, what: string) => lines.push([omitted, what]),
    () => now,
  );
  for (const what of ['a', 'b', 'c']) say(what);
  now = 10_000;
  say('d');
  now = 20_000;
  say('e');
  expect(lines).to.deep.equal([
    [0, 'a'],
    [2, 'd'],
    [0, 'e'],
  ]);
});
