import { expect } from 'chai';
import { defineMethod } from '../src/index.ts';

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
