import { expect } from 'chai';
import fc from 'fast-check';
import { fromMinorUnits, money, toMinorUnits } from '../src/index.ts';

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
