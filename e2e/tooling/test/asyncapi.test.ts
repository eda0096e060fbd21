// The AsyncAPI document against what contracts build and take: the envelope is the one part of it that is written by hand.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import * as formats from 'ajv-formats';
import { expect } from 'chai';
import { userCreated } from '../../../packages/contracts/src/index.ts';
import { buildEvent, parseEvent } from '../../../packages/events/src/index.ts';
import { checkout } from '../../../scripts/copy.ts';

const document = JSON.parse(readFileSync(join(checkout, 'docs/reference/asyncapi.json'), 'utf8'));
const ajv = new Ajv({ strict: false });
formats.default.default(ajv);
const fits = ajv.compile({
  components: document.components,
  ...document.components.messages['user.created.v1'].payload,
});

const event = buildEvent(userCreated, {
  id: '0199c2a5-7c1e-7000-9d3f-5b1c6f0f9a21',
  source: '/user',
  time: new Date('2026-11-21T10:15:00Z'),
  subject: '0199c2a5-7c1d-7000-8f6e-0c9f9f0c7d11',
  correlationId: '6f0f9a21-5b1c-4d3f-9d3f-0199c2a57c1e',
  traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  data: { userId: '0199c2a5-7c1d-7000-8f6e-0c9f9f0c7d11', name: 'Ada', email: 'ada@example.com' },
});
const variants: [string, object][] = [
  ['as it is built', event],
  ['with a field more', { ...event, more: 1 }],
  ['with a field more in its data', { ...event, data: { ...event.data, more: 1 } }],
  ...Object.keys(event).flatMap((field): [string, object][] => [
    [`without ${field}`, { ...event, [field]: undefined }],
    [`with a null for ${field}`, { ...event, [field]: null }],
    [`with a number for ${field}`, { ...event, [field]: 1 }],
    [`with an empty ${field}`, { ...event, [field]: '' }],
    [`with a very long ${field}`, { ...event, [field]: 'x'.repeat(256) }],
  ]),
  ['with a charset', { ...event, datacontenttype: 'Application/JSON; charset=utf-8' }],
  ['with a type of JSON', { ...event, datacontenttype: 'application/vnd.x+json' }],
  ['with another type', { ...event, datacontenttype: 'text/plain' }],
  ...Object.keys(event.data).flatMap((field): [string, object][] => [
    [`without data.${field}`, { ...event, data: { ...event.data, [field]: undefined } }],
    [`with a number for data.${field}`, { ...event, data: { ...event.data, [field]: 1 } }],
    [`with a very long data.${field}`, { ...event, data: { ...event.data, [field]: 'x'.repeat(256) } }],
  ]),
];

describe('docs/reference/asyncapi.json', () => {
  for (const [title, variant] of variants)
    it(`judges an event ${title} as its consumers do`, () => {
      const content = JSON.stringify(variant);
      expect(fits(JSON.parse(content))).to.equal(isTaken(content));
    });

  it('knows both kinds', () => {
    const verdicts = new Set(variants.map(([, variant]) => isTaken(JSON.stringify(variant))));
    expect([...verdicts].sort()).to.deep.equal([false, true]);
  });
});

describe('docs/reference/names.md', () => {
  it('names no event, method or queue of ours that is not there', () => {
    const operations: { 'x-queue'?: string; 'x-dead-letter-queue'?: string }[] = Object.values(
      document.operations,
    );
    const there = new Set([
      ...Object.keys(document.channels).flatMap((key) => [key, key.replace(/\.v\d+$/, '')]),
      ...operations.flatMap((each) => [each['x-queue'], each['x-dead-letter-queue']]),
    ]);
    const ours = readFileSync(join(checkout, 'docs/reference/names.md'), 'utf8')
      .split('\n')
      .flatMap((line) => [
        ...(line.split(' | ')[1] ?? '').matchAll(/`((?:user|session|order|payment|email)\.[\w.]+)`/g),
      ])
      .map(([, name]) => name);
    expect(ours).to.include('user.created');
    expect(ours.filter((name) => !there.has(name))).to.deep.equal([]);
  });
});

function isTaken(content: string): boolean {
  try {
    parseEvent(Buffer.from(content), [userCreated]);
    return true;
  } catch {
    return false;
  }
}
