import {
  brotliCompressSync,
  brotliDecompressSync,
  constants,
  deflateSync,
  gunzipSync,
  gzipSync,
  inflateSync,
} from 'node:zlib';
import { expect } from 'chai';
import fc from 'fast-check';
import { withHouse } from './support/house.ts';
import { type Received, send } from './support/http.ts';
import { target } from './support/target.ts';

/** The services' BODY_LIMIT. */
const LIMIT = 100 * 1024;
/** Where the parts of a compressed body begin and end; negative from its end. Trailers are checksums and lengths. */
const CUT = { header: [0, 12], middle: [12, -8], trailer: [-8, -1] } as const;

type Place = keyof typeof CUT;

interface Upload {
  /** Where it goes; the gateway passes it on. */
  to: 'user' | 'order' | 'gateway';
  /** As it is written in the header. */
  coding: string;
  /** The name of one of CONTENTS, and what makes its address unique. */
  content: string;
  id: string;
  damage:
    | { how: 'none' }
    // `at` is where in that part, 0 to 1.
    | { how: 'flip' | 'cut'; place: Place; at: number; bit: number }
    | { how: 'append' };
  chunk: number | undefined;
  /** Share of the bytes after which the client leaves. */
  leaveAt: number | undefined;
}

const CODECS: Record<string, { encode(bytes: Buffer): Buffer; decode(bytes: Buffer): Buffer }> = {
  gzip: { encode: (bytes) => gzipSync(bytes), decode: (bytes) => gunzipSync(bytes) },
  deflate: { encode: (bytes) => deflateSync(bytes), decode: (bytes) => inflateSync(bytes) },
  br: {
    // A fast level: the default one takes longer than the request.
    encode: (bytes) => brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 4 } }),
    decode: (bytes) => brotliDecompressSync(bytes),
  },
  identity: { encode: (bytes) => bytes, decode: (bytes) => bytes },
};
const codecOf = (coding: string) =>
  CODECS[coding.toLowerCase().replace(/^x-/, '')] as (typeof CODECS)[string];

const json = (more: object) => (id: string) =>
  Buffer.from(JSON.stringify({ name: 'Body', email: `body.${id}@example.com`, ...more }));

/** The part of a text between its quotes, in bytes that are not UTF-8. */
const broken = (bytes: number[]) => (id: string) =>
  Buffer.concat([
    Buffer.from('{"name":"J'),
    Buffer.from(bytes),
    Buffer.from(`","email":"body.${id}@example.com"}`),
  ]);

interface Content {
  what: string;
  make(id: string): Buffer;
  /** Whether it is a new user in JSON and UTF-8 and not above the limit. */
  good: boolean;
}

const SIZES: Content[] = [
  { what: 'small', make: json({}), good: true },
  { what: 'just below the limit', make: (id) => padded(json({})(id), LIMIT), good: true },
  { what: 'just above the limit', make: (id) => padded(json({})(id), LIMIT + 1), good: false },
  { what: 'above the limit', make: json({ name: 'x'.repeat(120_000) }), good: false },
  { what: 'far above the limit', make: json({ name: 'x'.repeat(3_000_000) }), good: false },
];

const TEXTS: Content[] = [
  { what: 'Latin-1', make: broken([0xe9, 0x72, 0xf4, 0x6d, 0x65]), good: false },
  { what: 'a cut character', make: broken([0xf0, 0x9f, 0x98]), good: false },
  { what: 'half a surrogate pair', make: broken([0xed, 0xa0, 0x80]), good: false },
  { what: 'an overlong slash', make: broken([0xc0, 0xaf]), good: false },
  { what: 'UTF-16', make: (id) => Buffer.from(json({})(id).toString(), 'utf16le'), good: false },
  { what: 'cut JSON', make: (id) => json({})(id).subarray(0, -3), good: false },
  { what: 'nothing', make: () => Buffer.alloc(0), good: false },
];

/** JSON may end in white space. */
const padded = (bytes: Buffer, length: number): Buffer =>
  Buffer.concat([bytes, Buffer.alloc(Math.max(0, length - bytes.length), ' ')]);

const contentOf = ({ content, id }: Upload) => {
  const { make, good } = [...SIZES, ...TEXTS].find(({ what }) => what === content) as Content;
  return { bytes: make(id), good };
};

const noDamage = fc.constant({ how: 'none' } as const);
const damage = fc.oneof(
  fc.record({
    how: fc.constantFrom('flip', 'cut'),
    place: fc.constantFrom<Place>('header', 'middle', 'trailer'),
    at: fc.double({ min: 0, max: 0.999, noNaN: true }),
    bit: fc.nat(7),
  }),
  fc.constant({ how: 'append' } as const),
);

const COMPRESSED = ['gzip', 'deflate', 'br', 'x-gzip', 'GZIP', 'Deflate', 'BR'];

const uploads = (
  codings: string[],
  contents: Content[],
  damaged: fc.Arbitrary<Upload['damage']>,
  leaveAt: fc.Arbitrary<number | undefined>,
): fc.Arbitrary<Upload> =>
  fc
    .record({
      to: fc.constantFrom<Upload['to']>('user', 'order', 'gateway'),
      coding: fc.constantFrom(...codings),
      content: fc.constantFrom(...contents.map(({ what }) => what)),
      id: fc.uuid(),
      damage: damaged,
      chunk: fc.option(fc.constantFrom(1, 7, 100, 5_000), { nil: undefined }),
      leaveAt,
    })
    .map(({ chunk, ...upload }) => {
      // Megabytes in chunks of one byte would keep the client busy, not the service.
      const large = upload.coding === 'identity' && !/small|JSON/.test(upload.content);
      return { ...upload, chunk: chunk && large ? 5_000 : chunk };
    });

target('bodies', ({ property }) => {
  const house = withHouse();

  const check = async (upload: Upload) => {
    await house.restore();
    const { bytes: original, good } = contentOf(upload);
    const bytes = damagedBytes(upload, original);
    const answer = await deliver(upload, bytes);
    await house.assertAlive();
    if (answer === undefined) return;
    const { status, text } = answer;
    expect(status, `the status; ${text.slice(0, 300)}`).to.be.within(200, 499);
    // Whether bytes after the end are ignored or refused is the service's to decide.
    if (upload.damage.how === 'append') return;
    const content = decode(upload, bytes);
    if (good && content?.equals(original)) {
      // The order service expects other fields: it has read and parsed the body when it says so.
      const understood = upload.to === 'order' ? /"invalid_input"/.test(text) : [201, 409].includes(status);
      if (!understood) throw new Error(`a good body is answered with ${status}: ${text.slice(0, 300)}`);
    } else if (status < 400 && !isUser(content))
      throw new Error(`a bad body is answered with ${status}: ${text.slice(0, 300)}`);
  };

  const stays = fc.constant(undefined);
  const codings = ['identity', ...COMPRESSED];
  const contents = [...SIZES, ...TEXTS];
  property(
    'a body in any accepted coding is read, or refused as too large',
    80,
    uploads(codings, SIZES, noDamage, stays),
    check,
  );
  property(
    'a body that is not JSON in UTF-8 is refused',
    60,
    uploads(codings, TEXTS, noDamage, stays),
    check,
  );
  property(
    'a damaged body is refused, and ends nobody',
    250,
    uploads(COMPRESSED, contents, damage, stays),
    check,
  );
  const leaves = fc.double({ min: 0, max: 0.95, noNaN: true });
  const any = fc.oneof(noDamage, damage);
  property(
    'a client that leaves in the middle of its upload ends nobody',
    100,
    uploads(codings, contents, any, leaves),
    check,
  );
  house.endsAtSigterm();

  async function deliver(upload: Upload, body: Buffer): Promise<Received | undefined> {
    const { to, coding, chunk, leaveAt } = upload;
    try {
      return await send(house.of(to).url, {
        method: 'POST',
        path: to === 'order' ? '/orders' : '/users',
        headers: { 'content-type': 'application/json', 'content-encoding': coding },
        body,
        chunk,
        ...(leaveAt !== undefined && { leaveAfter: Math.floor(leaveAt * body.length) }),
      });
    } catch (error) {
      await house.assertAlive();
      // Who sends more than is allowed may be cut off before the answer is read.
      if (contentOf(upload).bytes.length > LIMIT && /ECONNRESET|EPIPE/.test(String(error))) return undefined;
      throw error;
    }
  }
});

function damagedBytes({ coding, damage }: Upload, original: Buffer): Buffer {
  const bytes = codecOf(coding).encode(original);
  if (damage.how === 'none' || bytes.length === 0) return bytes;
  if (damage.how === 'append') return Buffer.concat([bytes, Buffer.from('\u0000\u001f\u008bmore')]);
  const [from, to] = CUT[damage.place].map((edge) =>
    Math.min(Math.max(edge < 0 ? bytes.length + edge : edge, 0), bytes.length - 1),
  ) as [number, number];
  const at = from + Math.floor(damage.at * Math.max(1, to - from));
  if (damage.how === 'cut') return bytes.subarray(0, at);
  const flipped = Buffer.from(bytes);
  flipped[at] = (flipped[at] as number) ^ (1 << damage.bit);
  return flipped;
}

/** What a damaged body holds all the same: a flipped bit may be that of a time stamp, and brotli has no checksum. */
function decode({ coding }: Upload, bytes: Buffer): Buffer | undefined {
  try {
    return codecOf(coding).decode(bytes);
  } catch {
    return undefined;
  }
}

function isUser(content: Buffer | undefined): boolean {
  if (content === undefined || content.length > LIMIT) return false;
  try {
    return typeof JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(content)).email === 'string';
  } catch {
    return false;
  }
}
