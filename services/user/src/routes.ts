import {
  CURSOR_UNKNOWN,
  created,
  get,
  Joi,
  own,
  type Paging,
  pageOf,
  paging,
  post,
  problem,
  type Route,
} from '@warren/chassis';
import type { User } from '@warren/contracts';
import { emailAddress, line, uuid } from '@warren/events';
import type { UserConfig } from './config.ts';
import {
  canonicalEmail,
  findUser,
  listUsers,
  type NewUser,
  signUp,
  type UserSchema,
  unknownUser,
} from './users.ts';

const id = uuid().lowercase();

const newUser = Joi.object<NewUser>({
  name: line(200).required(),
  email: emailAddress(canonicalEmail).required(),
});

const user = Joi.object<User>({
  id: id.required(),
  name: Joi.string().required(),
  email: Joi.string().required(),
  createdAt: Joi.string().isoDate().required(),
});

export const routes: Route<UserSchema, UserConfig>[] = [
  post(
    '/users',
    {
      access: 'public',
      aliases: ['/users/save', '/create_user'],
      summary: 'Sign up a user',
      body: newUser,
      shared: ({ body }) => body.email,
      responses: { 201: user, 409: Joi.valid('email_taken') },
    },
    async ({ body }, work) => {
      const signedUp = await signUp(work, body);
      if (signedUp.outcome === 'email_taken')
        throw problem(409, {
          code: 'email_taken',
          title: 'E-mail address taken',
          detail: `Another user has already signed up with ${body.email}; use another address.`,
        });
      return created(`/users/${signedUp.user.id}`, signedUp.user);
    },
  ),

  get(
    '/users/:id',
    {
      access: own(({ params }) => params.id),
      summary: 'Get a user',
      params: { id: id.required() },
      responses: { 200: user, 404: Joi.valid('user_unknown') },
    },
    async ({ params }, { database }) => {
      const found = await findUser(database, params.id);
      if (found === undefined) throw unknownUser(params.id);
      return found;
    },
  ),

  get(
    '/users',
    {
      access: 'operator',
      summary: 'List users in order of sign-up, with pagination',
      query: Joi.object<Paging>(paging),
      responses: { 200: pageOf(user), 400: Joi.valid(CURSOR_UNKNOWN) },
    },
    async ({ query }, { database }) => listUsers(database, query),
  ),
];
