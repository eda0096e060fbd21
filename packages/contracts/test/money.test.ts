import { expect } from 'chai';
import fc from 'fast-check';
import { defineMethod, fromMinorUnits, money, toMinorUnits } from '../src/index.ts';

describe('money', () => {
  it('goes from minor units to the wire and back unchanged (property)', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 999_999_999 }), (minorUnits) => {
        const wire = JSON.parse(JSON.stringify(fromMinorUnits(minorUnits)));
        expect(money().validate(wire).error).to.equal(undefined);
        expect(toMinorUnits(wire)).to.equal(minorUnits);
      }),
    );
  });

  for (const amount of [0.001, 1e-7, -0.01, 10_000_000, '1.00', Number.NaN, Number.POSITIVE_INFINITY, null])
    it(`is not ${JSON.stringify(amount)} (${typeof amount})`, () => {
      expect(money().required().validate(amount).error).to.be.an('error');
    });
});

describe('a method declaration', () => {
  it('gives the routing key its name and version', () => {
    const method = defineMethod({
      method: 'user.find',
      version: 2,
      callers: ['gateway'],
      access: 'public',
      request: {},
      reply: {},
    });
    expect(method).to.include({ method: 'user.find', version: 2, routingKey: 'user.find.v2' });
    expect(method).to.include({ service: 'user' });
    expect(method.callers).to.deep.equal(['gateway']);
  });

  for (const method of ['user', 'user.find.one', 'User.find', 'user.*', '#.find', 'user find', ''])
    it(`refuses the name '${method}'`, () => {
      expect(() =>
        defineMethod({ method, version: 1, callers: [], access: 'public', request: {}, reply: {} }),
      ).to.throw(TypeError, 'must be of the form');
    });

  it('refuses a version that is not a positive integer', () => {
    expect(() =>
      defineMethod({
        method: 'user.find',
        version: 0,
        callers: [],
        access: 'public',
        request: {},
        reply: {},
      }),
    ).to.throw(TypeError);
  });
});
