import { CURSOR_UNKNOWN, get, Joi, own, type Paging, pageOf, paging, type Route } from '@warren/chassis';
import { uuid } from '@warren/contracts';
import type { EmailConfig } from './config.ts';
import { type Email, type EmailSchema, emailsOf } from './emails.ts';
import { templates } from './templates/index.ts';

const id = uuid().lowercase();

const email = Joi.object<Email>({
  id: id.required(),
  userId: id.required(),
  to: Joi.string(),
  template: Joi.valid(...Object.keys(templates)).required(),
  subject: Joi.string().required(),
  status: Joi.valid('pending', 'sent', 'failed').required(),
  sentAt: Joi.string().isoDate(),
});

export const routes: Route<EmailSchema, EmailConfig>[] = [
  get(
    '/emails',
    {
      access: own(({ query }) => query.userId),
      summary: 'The e-mails to a user, oldest first, page by page',
      description: '`to` is missing while the user is not known yet; `sentAt` unless the e-mail was sent.',
      query: Joi.object<Paging & { userId: string }>({ userId: id.required(), ...paging }),
      responses: { 200: pageOf(email), 400: Joi.valid(CURSOR_UNKNOWN) },
    },
    async ({ query }, { database }) => emailsOf(database, query.userId, query),
  ),
];
