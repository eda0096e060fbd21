import { ContractError, defineEvent, Joi, parseEvent } from '@warren/events';
import { expect } from 'chai';
import { message } from '../src/index.ts';

const noteWritten = defineEvent<{ text: string }>({
  type: 'note.written',
  version: 1,
  data: { text: Joi.string().required() },
});

describe('a message', () => {
  it('is the event of its contract, published by the service that the contract names', () => {
    const { id, event, published } = message(noteWritten, { text: 'x' }, { subject: 'note 1' });
    const [exchange, routingKey, content, properties] = published;
    expect([exchange, routingKey]).to.deep.equal(['events', 'note.written.v1']);
    expect(parseEvent(content, [noteWritten])).to.deep.equal(event);
    expect(event).to.deep.include({ id, source: '/note', subject: 'note 1', data: { text: 'x' } });
    expect(properties).to.include({ messageId: id, appId: 'note', correlationId: event.correlationid });
  });

  it('is refused when its data does not fit the contract', () => {
    expect(() => message(noteWritten, {} as { text: string })).to.throw(ContractError, 'text is required');
  });
});
