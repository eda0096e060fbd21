// What TypeScript knows in a handler. The compiler is the judge: each `@ts-expect-error` must be one.
import { Joi } from '@warren/events';
import { expect } from 'chai';
import type { Kysely, Transaction } from 'kysely';
import { created, del, get, noContent, post, type Route } from '../src/http/routes.ts';

interface Schema {
  users: { id: string };
}
interface Config {
  LIMIT: number;
}
interface NewUser {
  name: string;
  email?: string;
}
interface Page {
  limit: number;
  after?: string;
}

const list = async (_: Kysely<Schema>, page: Page) => ({ items: [], page });
const save = async (_: Transaction<Schema>, user: NewUser) => user;
const id = Joi.string().guid();

const routes: Route<Schema, Config>[] = [
  post(
    '/users',
    { access: 'public', body: Joi.object<NewUser>({ name: Joi.string() }) },
    async ({ body }, { transaction, config }) => {
      const limit: number = config.LIMIT;
      // @ts-expect-error a setting is of its type
      const text: string = config.LIMIT;
      // @ts-expect-error the body has no such field
      const age = body.age;
      // @ts-expect-error the database has no such table
      transaction.selectFrom('orders');
      return created(
        `/users/${body.name}`,
        await save(transaction, { ...body, name: `${limit}${text}${age}` }),
      );
    },
  ),
  get('/users/:id/friends/:friend', { access: 'public' }, async ({ params }, { database }) => {
    // @ts-expect-error the path has no such parameter
    const other = params.other;
    // @ts-expect-error the database has no such table
    database.selectFrom('orders');
    return { id: params.id satisfies string, friend: params.friend satisfies string, other };
  }),
  get('/users/:id', { access: 'public', params: { id: Joi.number() } }, async ({ params }) => ({
    id: params.id satisfies number,
  })),
  get(
    '/users',
    { access: 'public', query: { limit: Joi.number().default(50), after: id } },
    async ({ query }, { database }) => list(database, query),
  ),
  get(
    '/pages',
    { access: 'public', query: Joi.object<Page>({ limit: Joi.number().default(50), after: id }) },
    async ({ query }, { database }) => {
      // @ts-expect-error it may be missing
      const after: string = query.after;
      return list(database, { ...query, after });
    },
  ),
  get('/reads', { access: 'public' }, async (_, context) => {
    // @ts-expect-error what only reads has no transaction
    return context.transaction;
  }),
  del('/users/:id', { access: 'public', params: { id }, responses: { 204: null } }, async () => noContent()),
  get('/rows/:id', { access: 'own' }, async ({ params }, { authorise }) => {
    authorise(params.id);
    // @ts-expect-error an owner is named by its id
    authorise(7);
    return {};
  }),
  // @ts-expect-error a route says who may call it
  get('/open', {}, async () => ({})),
  // @ts-expect-error there is no such rule
  get('/wrong', { access: 'anybody' }, async () => ({})),
  // @ts-expect-error a handler answers with an object
  get('/text', { access: 'public' }, async () => 'text'),
];

describe('a route', () => {
  it('is plain data, from which documents can be made', () => {
    const [first] = routes;
    expect(first).to.include({ method: 'POST', path: '/users' });
    expect(Joi.isSchema(first?.body)).to.equal(true);
    expect(routes.map(({ method }) => method)).to.deep.equal([
      'POST',
      ...Array(5).fill('GET'),
      'DELETE',
      ...Array(4).fill('GET'),
    ]);
  });
});
