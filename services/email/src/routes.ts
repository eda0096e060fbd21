import {
  CURSOR_UNKNOWN,
  get,
  Joi,
  own,
  type Paging,
  pageOf,
  paging,
  post,
  type Route,
  respond,
} from '@warren/chassis';
import { uuid } from '@warren/events';
import type { EmailConfig } from './config.ts';
import { confirm, resend } from './confirmation.ts';
import { type Email, emailsOf, REASONS } from './emails.ts';
import { readLink } from './links.ts';
import { askPage, confirmedPage, refuse, resentPage, wantsPage } from './pages.ts';
import type { EmailSchema } from './schema.ts';
import { templates } from './templates/index.ts';

const id = uuid().lowercase();

const email = Joi.object<Email>({
  id: id.required(),
  userId: id.required(),
  to: Joi.string(),
  template: Joi.valid(...Object.keys(templates)).required(),
  subject: Joi.string().required(),
  status: Joi.valid('pending', 'sent', 'failed').required(),
  reason: Joi.valid(...REASONS),
  sentAt: Joi.string().isoDate(),
});

/** Lenient, so that a browser with a damaged link still gets a page. */
const link = Joi.object<{ token: string }>({ token: Joi.string().allow('').default('') }).unknown();
const LINK_REFUSED = { 404: Joi.valid('confirmation_unknown'), 410: Joi.valid('confirmation_expired') };
const BROWSERS = 'A browser (`Accept: text/html`) gets HTML pages, also for 404 and 410.';

export const routes: Route<EmailSchema, EmailConfig>[] = [
  get(
    '/emails',
    {
      access: own(({ query }) => query.userId),
      summary: 'List the e-mails to a user, oldest first, with pagination',
      description:
        '`to` is missing until the user is known, and `sentAt` until the e-mail is sent. `reason` says why an e-mail is pending: ' +
        '`unconfirmed` (the address is not confirmed) or `postponed` (the address reached its hourly limit); or why it failed: `unconfirmed` or `refused`.',
      query: Joi.object<Paging & { userId: string }>({ userId: id.required(), ...paging }),
      responses: { 200: pageOf(email), 400: Joi.valid(CURSOR_UNKNOWN) },
    },
    async ({ query }, { database, now }) => emailsOf(database, query.userId, query, now()),
  ),

  get(
    '/emails/confirm',
    {
      access: 'public',
      summary: 'Show the page behind a confirmation link',
      description: `The page has a button. Opening it does not confirm the address, because mail scanners open links too. ${BROWSERS}`,
      query: link,
      responses: { 200: Joi.string(), ...LINK_REFUSED },
    },
    async ({ query, headers }, { database, config, now }) => {
      const found = await readLink(database, query.token, config, now());
      if (found.kind === 'unknown' || found.kind === 'expired') return refuse(found, headers);
      return found.kind === 'confirmed' ? confirmedPage() : askPage();
    },
  ),

  post(
    '/emails/confirm',
    {
      access: 'public',
      summary: 'Confirm the address that the link was sent to',
      description: `Idempotent. The request has no body; \`token\` is the one in the link. ${BROWSERS}`,
      query: link,
      responses: { 200: Joi.object({ userId: id.required() }), ...LINK_REFUSED },
    },
    async ({ query, headers }, work) => {
      const found = await readLink(work.transaction, query.token, work.config, work.now());
      if (found.kind === 'unknown' || found.kind === 'expired') return refuse(found, headers);
      if (found.kind === 'open') await confirm(work, found.userId);
      return wantsPage(headers) ? confirmedPage() : { userId: found.userId };
    },
  ),

  post(
    '/emails/resend',
    {
      access: 'public',
      summary: 'Send a user another confirmation',
      description:
        'Sends at most 3 per hour and 5 per day to one user, and only while the address is not confirmed. The response is always the same, also for users that do not exist.',
      query: { userId: id.required() },
      responses: { 202: Joi.object({ userId: id.required() }) },
    },
    async ({ query, headers }, work) => {
      await resend(work, query.userId);
      return wantsPage(headers) ? resentPage() : respond(202, { userId: query.userId });
    },
  ),
];
