import { expect } from 'chai';
import * as contracts from '../src/index.ts';
import { defineEvent, findUser, Joi, personalFields, userCreated, uuid } from '../src/index.ts';

const personal = () => Joi.string().meta({ personal: true });

describe('personal fields', () => {
  it('of a user are the name and the e-mail address, in the event and in the method', () => {
    expect(personalFields(userCreated)).to.deep.equal([['name'], ['email']]);
    expect(personalFields({ schema: findUser.reply })).to.deep.equal([['name'], ['email']]);
  });

  it('are marked wherever a field of an event is called name or email', () => {
    for (const definition of Object.values(contracts).filter(isEvent)) {
      const named = Object.keys(definition.schema.describe().keys).filter((key) =>
        /^(name|email)$/i.test(key),
      );
      expect(personalFields(definition), definition.type).to.deep.equal(named.map((name) => [name]));
    }
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

const isEvent = (value: unknown): value is contracts.AnyEvent =>
  typeof value === 'object' && value !== null && 'dataschema' in value;
