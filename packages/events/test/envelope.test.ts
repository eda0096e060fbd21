import { expect } from 'chai';
import fc from 'fast-check';
import { buildEvent, ContractError, defineEvent, Joi, parseEvent } from '../src/index.ts';
import { sessionOpened, userCreated } from './fixtures/events.ts';

const id = '0199f2a0-0000-7000-8000-000000000001';
const data = { userId: id, name: 'Ada', email: 'ada@example.com' };
const build = (changes: object = {}) => ({
  ...buildEvent(userCreated, {
    id,
    source: '/user',
    time: new Date(0),
    data,
    subject: id,
    correlationId: 'c',
    traceparent: 't',
  }),
  ...changes,
});
const bytes = (value: unknown) => Buffer.from(JSON.stringify(value));
const refusal = (content: Buffer): ContractError => {
  try {
    parseEvent(content, [userCreated]);
  } catch (error) {
    expect(error).to.be.instanceOf(ContractError);
    return error as ContractError;
  }
  throw new Error('it was accepted');
};

describe('an event declaration', () => {
  it('gives the routing key and the schema its name and version', () => {
    expect(userCreated).to.include({
      type: 'user.created',
      version: 1,
      routingKey: 'user.created.v1',
      dataschema: 'urn:warren:user.created:v1',
      from: 'user',
    });
  });

  for (const type of [
    'user',
    'User.created',
    'user created',
    'user..created',
    '.created',
    'user.created.*',
    '',
  ])
    it(`refuses the type '${type}'`, () => {
      expect(() => defineEvent({ type, version: 1, data: {} })).to.throw(TypeError, 'must be of the form');
    });

  for (const version of [0, -1, 1.5, Number.NaN])
    it(`refuses the version ${version}`, () => {
      expect(() => defineEvent({ type: 'user.created', version, data: {} })).to.throw(
        TypeError,
        'positive integer',
      );
    });
});

describe('the envelope', () => {
  it('is a CloudEvent 1.0', () => {
    expect(build()).to.deep.equal({
      specversion: '1.0',
      id,
      source: '/user',
      type: 'user.created',
      time: '1970-01-01T00:00:00.000Z',
      datacontenttype: 'application/json',
      dataschema: 'urn:warren:user.created:v1',
      subject: id,
      correlationid: 'c',
      traceparent: 't',
      data,
    });
  });

  it('is parsed as it was built, with any data', () => {
    const event = defineEvent<{ text: string; n: number }>({
      type: 'test.happened',
      version: 3,
      data: { text: Joi.string().allow('').required(), n: Joi.number().unsafe().required() },
    });
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme' }),
        fc.double({ noNaN: true, noDefaultInfinity: true }),
        (text, n) => {
          const built = buildEvent(event, {
            id,
            source: '/test',
            time: new Date(),
            data: { text, n: n + 0 },
          });
          expect(parseEvent(bytes(built), [event])).to.deep.equal(JSON.parse(JSON.stringify(built)));
        },
      ),
    );
  });

  it('is refused by its producer when the data does not fit, naming the field', () => {
    expect(() =>
      buildEvent(userCreated, { id, source: '/user', time: new Date(), data: { ...data, email: 'nobody' } }),
    )
      .to.throw(ContractError, 'data.email must be a valid email')
      .with.property('field', 'data.email');
  });

  it('is refused by its producer when the envelope is one that no consumer takes', () => {
    const parts = { id, source: '/user', time: new Date(), data };
    expect(() => buildEvent(userCreated, { ...parts, id: `{${id}}` })).to.throw(
      ContractError,
      'id must be a valid GUID',
    );
    expect(() => buildEvent(userCreated, { ...parts, subject: '' })).to.throw(ContractError, 'subject');
    expect(() => buildEvent(userCreated, { ...parts, correlationId: 'é'.repeat(128) })).to.throw(
      ContractError,
      'correlationid',
    );
  });

  it('is refused by its producer when the data has a field too many', () => {
    const more = { ...data, password: 'x' };
    expect(() => buildEvent(userCreated, { id, source: '/user', time: new Date(), data: more })).to.throw(
      ContractError,
      'data.password is not allowed',
    );
  });
});

describe('parsing', () => {
  it('ignores fields that nobody knows yet', () => {
    const event = parseEvent(bytes(build({ tomorrow: true, data: { ...data, colour: 'red' } })), [
      userCreated,
    ]);
    expect(event.data).to.deep.equal(data);
  });

  it('chooses among several events and versions', () => {
    const opened = buildEvent(sessionOpened, {
      id,
      source: '/session',
      time: new Date(),
      data: { sessionId: id, userId: id, expiresAt: new Date().toISOString() },
    });
    expect(parseEvent(bytes(opened), [userCreated, sessionOpened]).type).to.equal('session.opened');
  });

  const refused: [string, Buffer, ContractError['code'], string | undefined, RegExp][] = [
    ['text', Buffer.from('hello'), 'not_json', undefined, /5 bytes\) is not JSON/],
    ['bytes that are no UTF-8', Buffer.from([0x22, 0xff, 0x22]), 'not_json', undefined, /not JSON/],
    ['null', bytes(null), 'not_cloudevent', undefined, /must be of type object/],
    ['a list', bytes([]), 'not_cloudevent', undefined, /must be of type object/],
    [
      'another specversion',
      bytes(build({ specversion: '0.3' })),
      'not_cloudevent',
      'specversion',
      /must be \[1\.0\]/,
    ],
    [
      'an offset that Date cannot read',
      bytes(build({ time: '2026-01-01T00:00:00+01' })),
      'invalid_attribute',
      'time',
      /RFC 3339/,
    ],
    [
      'a correlation id of more than 255 bytes',
      bytes(build({ correlationid: 'é'.repeat(128) })),
      'invalid_attribute',
      'correlationid',
      /255/,
    ],
    ['a time that is none', bytes(build({ time: 'soon' })), 'invalid_attribute', 'time', /RFC 3339/],
    ['no data', bytes(build({ data: undefined })), 'invalid_data', 'data', /required/],
    ['data that is text', bytes(build({ data: 'x' })), 'invalid_data', 'data', /object/],
    [
      'another type',
      bytes(build({ type: 'user.erased' })),
      'unknown_type',
      'type',
      /'user\.erased' is not consumed/,
    ],
    [
      'another version',
      bytes(build({ dataschema: 'urn:warren:user.created:v2' })),
      'unknown_version',
      'dataschema',
      /only urn:warren:user\.created:v1/,
    ],
    [
      'a schema of another type',
      bytes(build({ dataschema: 'urn:warren:session.opened:v1' })),
      'unknown_version',
      'dataschema',
      /not consumed/,
    ],
    [
      'a missing field',
      bytes(build({ data: { ...data, name: undefined } })),
      'invalid_data',
      'data.name',
      /user\.created\.v1: data\.name is required/,
    ],
    [
      'a field of another type',
      bytes(build({ data: { ...data, name: 5 } })),
      'invalid_data',
      'data.name',
      /must be a string/,
    ],
  ];
  for (const [what, content, code, field, message] of refused)
    it(`refuses ${what}, saying which field and why`, () => {
      const error = refusal(content);
      expect(error.code).to.equal(code);
      expect(error.field).to.equal(field);
      expect(error.message).to.match(message);
    });

  it('fails only with a ContractError, with any input', () => {
    const parses = (content: Buffer) => {
      try {
        parseEvent(content, [userCreated]);
      } catch (error) {
        expect(error).to.be.instanceOf(ContractError);
      }
    };
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (content) => parses(Buffer.from(content))));
    fc.assert(fc.property(fc.jsonValue(), (value) => parses(bytes(value))));
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...Object.keys(build())), fc.jsonValue()), (changes) =>
        parses(bytes(build(changes))),
      ),
    );
  });

  it('does not let a message reach into prototypes', () => {
    const event = parseEvent(
      Buffer.from(JSON.stringify(build()).replace('"name"', '"__proto__":{"polluted":true},"name"')),
      [userCreated],
    );
    expect((event.data as { polluted?: unknown }).polluted).to.equal(undefined);
    expect(({} as { polluted?: unknown }).polluted).to.equal(undefined);
  });
});
