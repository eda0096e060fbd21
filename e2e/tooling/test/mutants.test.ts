import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { checkout } from '../../../scripts/copy.ts';
import { doorsOfTheOutbox } from '../../../scripts/mutants/doors.ts';
import { guarantees } from '../../../scripts/mutants/guarantees.ts';
import { type Mutant, plant } from '../../../scripts/mutants/mutant.ts';
import { saga } from '../../../scripts/mutants/saga.ts';

const mutants = [...saga, ...guarantees, ...doorsOfTheOutbox];
const read = (file: string) => readFileSync(join(checkout, file), 'utf8');

describe('make mutants', () => {
  it('knows each fault by a name of its own', () => {
    const names = mutants.map(({ name }) => name);
    expect(new Set(names).size).to.equal(names.length);
  });

  it('refuses a fault whose place is missing or not the only one, or that is not TypeScript', () => {
    const mutant = { name: 'a fault', file: 'a.ts', find: 'one', suite: 's', tests: [] };
    const refusal = (text: string, replace: string) => () => plant({ ...mutant, replace } as Mutant, text);
    expect(refusal('none', 'two')).to.not.throw();
    expect(refusal('', 'two')).to.throw('occurs 0 times in a.ts; it must occur once');
    expect(refusal('one one', 'two')).to.throw('occurs 2 times in a.ts; it must occur once');
    expect(refusal('one', 'two(')).to.throw('a.ts is not valid TypeScript with this fault');
  });

  for (const mutant of mutants) {
    it(`can plant: ${mutant.name}`, () => {
      const { file, suite, tests } = mutant;
      const text = read(file);
      expect(plant(mutant, text)).to.not.equal(text);
      for (const test of tests) expect(existsSync(join(checkout, suite, test)), test).to.equal(true);
    });
  }
});
