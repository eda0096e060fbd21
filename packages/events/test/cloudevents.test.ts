import { expect } from 'chai';
import { type AnyEvent, buildEvent, ContractError, defineEvent, Joi, parseEvent } from '../src/index.ts';
import { userCreated } from './fixtures/events.ts';
import { SDK_EVENTS } from './fixtures/sdk-events.ts';

const id = '0199f2a0-0000-7000-8000-000000000001';
const data = { userId: id, name: 'Ada', email: 'ada@example.com' };
const published = new Date('2026-11-29T06:40:00.000Z');
const event = (changes: object = {}) => ({
  ...buildEvent(userCreated, { id, source: '/user', time: new Date(0), data, subject: id }),
  ...changes,
});
const parse = (value: unknown, accepted: readonly AnyEvent[] = [userCreated]) =>
  parseEvent(Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)), accepted, published);
const refusal = (value: unknown, accepted: readonly AnyEvent[] = [userCreated]): ContractError => {
  try {
    parse(value, accepted);
  } catch (error) {
    expect(error).to.be.instanceOf(ContractError);
    return error as ContractError;
  }
  throw new Error('it was accepted');
};

describe('an event of another CloudEvents SDK', () => {
  for (const [what, body] of SDK_EVENTS)
    it(`is accepted: ${what}`, () => {
      const parsed = parse(body);
      expect(parsed.data).to.deep.equal(data);
      expect(Date.parse(parsed.time)).to.be.greaterThan(Date.parse('2026-11-20T00:00:00Z'));
      expect(parsed).to.not.have.property('data_base64');
    });
});

describe('a CloudEvent', () => {
  for (const type of [
    'application/json',
    'Application/JSON',
    'application/json;charset=UTF-8',
    'application/json ; charset="utf-8"; profile=x',
    'application/cloudevents+json',
    'application/vnd.warren.user+JSON; v=1',
    'text/json',
  ])
    it(`may have data of the type ${type}`, () => {
      expect(parse(event({ datacontenttype: type }))).to.deep.include({
        datacontenttype: 'application/json',
        data,
      });
    });

  for (const attribute of [
    'time',
    'datacontenttype',
    'dataschema',
    'subject',
    'correlationid',
    'traceparent',
  ])
    it(`may have a null or no ${attribute}, which is the same`, () => {
      const { [attribute]: _, ...without } = event() as Record<string, unknown>;
      expect(parse(event({ [attribute]: null }))).to.deep.equal(parse(without));
    });

  it('happened when it was published if it does not say when', () => {
    expect(parse(event({ time: undefined })).time).to.equal(published.toISOString());
  });

  for (const [written, meant] of [
    ['2026-11-21t10:15:00z', '2026-11-21T10:15:00.000Z'],
    ['2026-11-21T10:15:00.123456789Z', '2026-11-21T10:15:00.123Z'],
    ['2026-11-21T10:15:00.5+05:30', '2026-11-21T04:45:00.500Z'],
    ['2026-11-21T10:15:00-00:00', '2026-11-21T10:15:00.000Z'],
    ['2016-12-31T23:59:60Z', '2016-12-31T23:59:59.000Z'],
  ])
    it(`may have the time ${written}`, () => {
      expect(parse(event({ time: written })).time).to.equal(meant);
    });

  it('may have an id that is not a UUID, a long subject and extensions', () => {
    const changes = { id: 'A234-1234-1234', subject: 'x'.repeat(2_000), comexampleextension: 5 };
    expect(parse(event(changes))).to.deep.include(changes);
  });

  it('may leave out dataschema where one version is consumed, and not where several are', () => {
    const second = defineEvent<object>({ type: 'user.created', version: 2, data: { n: Joi.number() } });
    expect(parse(event({ dataschema: undefined })).dataschema).to.equal(userCreated.dataschema);
    const error = refusal(event({ dataschema: undefined }), [userCreated, second]);
    expect(error.code).to.equal('unknown_version');
    expect(error.message).to.include('missing').and.include(userCreated.dataschema);
  });

  for (const traceparent of ['', 'x'.repeat(256)])
    it(`has no trace context if it has ${traceparent.length} characters`, () => {
      expect(parse(event({ traceparent }))).to.not.have.property('traceparent');
    });
});

describe('the reason against an event', () => {
  const wrong: [string, object, ContractError['code'], string, RegExp][] = [
    ['without an id', { id: undefined }, 'not_cloudevent', 'id', /id is required/],
    ['with a null type', { type: null }, 'not_cloudevent', 'type', /type is required/],
    ['with an empty id', { id: '' }, 'invalid_attribute', 'id', /empty/],
    ['with an id that is too long', { id: 'x'.repeat(256) }, 'invalid_attribute', 'id', /255/],
    [
      'with an empty subject',
      { subject: '' },
      'invalid_attribute',
      'subject',
      /subject is not allowed to be empty/,
    ],
    ['with a subject that is a number', { subject: 5 }, 'invalid_attribute', 'subject', /must be a string/],
    ['with a date', { time: '2026-11-21' }, 'invalid_attribute', 'time', /RFC 3339/],
    ['of 30 February', { time: '2026-02-30T00:00:00Z' }, 'invalid_attribute', 'time', /RFC 3339/],
    ['of 24 hours', { time: '2026-02-20T24:00:00Z' }, 'invalid_attribute', 'time', /RFC 3339/],
    ['without an offset', { time: '2026-02-20T10:00:00' }, 'invalid_attribute', 'time', /RFC 3339/],
    ['of no media type', { datacontenttype: 'json' }, 'invalid_attribute', 'datacontenttype', /media type/],
    [
      'with text',
      { datacontenttype: 'text/plain', data: 'x' },
      'invalid_data',
      'datacontenttype',
      /'text\/plain' is not a media type of JSON/,
    ],
    ['without data', { data: undefined }, 'invalid_data', 'data', /data is required/],
    ['with null data', { data: null }, 'invalid_data', 'data', /data is required/],
    ['with two data', { data_base64: 'e30=' }, 'not_cloudevent', 'data_base64', /both/],
    [
      'with data that is not Base64',
      { data: undefined, data_base64: '%' },
      'invalid_data',
      'data_base64',
      /not Base64/,
    ],
    [
      'with Base64 that is not JSON',
      { data: undefined, data_base64: 'eA==' },
      'invalid_data',
      'data_base64',
      /not JSON/,
    ],
  ];
  for (const [what, changes, code, field, message] of wrong)
    it(`${what} is ${code}`, () => {
      const error = refusal(event(changes));
      expect(error.code).to.equal(code);
      expect(error.field).to.equal(field);
      expect(error.message).to.match(message);
    });
});
