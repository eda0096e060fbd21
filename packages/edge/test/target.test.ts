import { expect } from 'chai';
import fc from 'fast-check';
import { readTarget } from '../src/target.ts';

describe('a request target', () => {
  it('that is accepted is the same path to every URL parser', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.webPath(), fc.webUrl()), (raw) => {
        let read: ReturnType<typeof readTarget>;
        try {
          read = readTarget(raw);
        } catch (error) {
          expect(error).to.have.property('status').that.is.oneOf([400, 414]);
          return;
        }
        const url = new URL(`http://h${read.path}${read.query}`);
        expect(url.pathname).to.equal(read.path);
        expect(decodeURIComponent(read.path)).to.equal(read.path);
      }),
      { numRuns: 5_000 },
    );
  });
});
