import { expect } from 'chai';
import { defineEvent, Joi, personalFields, uuid } from '../src/index.ts';
import { userCreated } from './fixtures/events.ts';

const personal = () => Joi.string().meta({ personal: true });

describe('personal fields', () => {
  it('of an event are listed in the order of its schema', () => {
    expect(personalFields(userCreated)).to.deep.equal([['name'], ['email']]);
  });

  it('are found in objects, lists and alternatives, each path once', () => {
    const parcelPacked = defineEvent<object>({
      type: 'parcel.packed',
      version: 1,
      data: {
        parcelId: uuid().required(),
        recipient: Joi.object({ name: personal().required(), country: Joi.string() }),
        witnesses: Joi.array().items(Joi.object({ signature: personal(), at: Joi.string() })),
        initials: Joi.array().items(personal()),
        contact: Joi.alternatives(
          Joi.object({ phone: personal() }),
          Joi.object({ phone: personal(), fax: personal() }),
        ),
      },
    });
    expect(personalFields(parcelPacked)).to.deep.equal([
      ['recipient', 'name'],
      ['witnesses', '*', 'signature'],
      ['initials', '*'],
      ['contact', 'phone'],
      ['contact', 'fax'],
    ]);
  });

  it('that hold fields are listed themselves', () => {
    const schema = Joi.object({ address: Joi.object({ street: personal() }).meta({ personal: true }) });
    expect(personalFields({ schema })).to.deep.equal([['address']]);
  });

  it('are checked as they were before they were marked', () => {
    const data = { userId: '0199c2a5-7c1d-7000-8f6e-0c9f9f0c7d11', name: 'Ada', email: 'ada@example.com' };
    expect(userCreated.schema.validate(data).error).to.equal(undefined);
    expect(userCreated.schema.validate({ ...data, email: 'ada' }).error?.message).to.include('"email"');
  });
});
