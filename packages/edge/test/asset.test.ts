import { createServer, type Server } from 'node:http';
import { connect } from 'node:net';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import { request } from 'undici';
import { type Coding, chooseCoding, createAsset, ENCODERS } from '../src/asset.ts';

const ALL: Coding[] = ['br', 'gzip', 'identity'];

describe('the coding of a response', () => {
  for (const [accept, coding] of Object.entries({
    '': 'identity',
    gzip: 'gzip',
    'x-gzip': 'gzip',
    GZIP: 'gzip',
    'gzip, deflate, br, zstd': 'br',
    'gzip, deflate': 'gzip',
    'br;q=0.5, gzip;q=0.8': 'gzip',
    'br;q=0, gzip': 'gzip',
    'gzip;q=0': 'identity',
    'gzip ; q=0.0 , br ;q=0.000': 'identity',
    'gzip;q=0.2, identity;q=0.5': 'identity',
    'identity, gzip;q=0.9': 'identity',
    '*': 'br',
    '*;q=0': 'identity',
    'br;q=0, *;q=0.1': 'gzip',
    'identity;q=0, gzip;q=0.1': 'gzip',
    'notgzip, gzipped': 'identity',
    'gzip;q=2': 'identity',
    'gzip;level=1': 'identity',
    ', ,gzip,,': 'gzip',
  }))
    it(`is ${coding} for ${JSON.stringify(accept)}`, () =>
      expect(chooseCoding(accept, ALL)).to.equal(coding));

  it('is identity without Accept-Encoding', () => expect(chooseCoding(undefined, ALL)).to.equal('identity'));
});

describe('an asset', () => {
  const servers: Server[] = [];
  afterEach(() => {
    for (const server of servers.splice(0)) server.close().closeAllConnections();
  });
  const serve = async (asset: ReturnType<typeof createAsset>, onDone: (error?: Error) => void = () => {}) => {
    const server = createServer((incoming, response) => {
      asset.send(incoming, response, { 'content-type': 'text/plain' }).then(
        () => onDone(),
        (error) => {
          onDone(error);
          response.writeHead(500).end();
        },
      );
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return (server.address() as { port: number }).port;
  };

  it('is read once and compressed once a coding, however many ask at once and afterwards', async () => {
    const calls = { load: 0, br: 0, gzip: 0 };
    const whole = Buffer.from('warren '.repeat(10_000));
    const asset = createAsset(
      async () => {
        calls.load += 1;
        return whole;
      },
      {
        br: (body) => {
          calls.br += 1;
          return ENCODERS.br(body);
        },
        gzip: (body) => {
          calls.gzip += 1;
          return ENCODERS.gzip(body);
        },
      },
    );
    const url = `http://127.0.0.1:${await serve(asset)}`;
    for (let round = 0; round < 3; round += 1)
      await Promise.all(
        Array.from({ length: 30 }, async (_, at) => {
          const coding = ALL[at % 3] as Coding;
          const { headers, body } = await request(url, { headers: { 'accept-encoding': coding } });
          const bytes = Buffer.from(await body.bytes());
          expect(headers['content-length']).to.equal(String(bytes.length));
          expect(headers['content-encoding']).to.equal(coding === 'identity' ? undefined : coding);
          const decode = { br: brotliDecompressSync, gzip: gunzipSync, identity: (some: Buffer) => some };
          expect(decode[coding](bytes).equals(whole)).to.equal(true);
        }),
      );
    expect(calls).to.deep.equal({ load: 1, br: 1, gzip: 1 });
  });

  it('is read again after a failure', async () => {
    let loads = 0;
    const asset = createAsset(async () => {
      loads += 1;
      if (loads === 1) throw new Error('no such file');
      return Buffer.from('here');
    });
    const url = `http://127.0.0.1:${await serve(asset)}`;
    expect((await request(url)).statusCode).to.equal(500);
    expect(await (await request(url)).body.text()).to.equal('here');
    expect(loads).to.equal(2);
  });

  it('is over when its client leaves in the middle', async () => {
    let done = 0;
    const asset = createAsset(async () => Buffer.alloc(64 * 1024 * 1024));
    const port = await serve(asset, () => {
      done += 1;
    });
    const socket = connect(port, '127.0.0.1', () => socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n'));
    socket.once('data', () => socket.resetAndDestroy());
    await eventually(() => done === 1);
  });
});
