// The pages behind a confirmation link: at most one form, no script, and nothing that a user wrote.
import { createHash } from 'node:crypto';
import { type HttpResponse, html, problem } from '@warren/chassis';
import type { Link } from './links.ts';

type Headers = Readonly<Record<string, string | string[] | undefined>>;

const STYLE = `
body { margin: 0; padding: 24px; background: #f6f6f4; color: #222; font: 16px/1.5 sans-serif; }
main { max-width: 560px; margin: 0 auto; padding: 24px; background: #fff; border-radius: 8px; }
h1 { margin-top: 0; font-size: 24px; }
button { padding: 12px 24px; border: 0; border-radius: 8px; background: #1a5e3a; color: #fff; font: inherit; cursor: pointer; }
`;

const HEADERS = {
  'content-security-policy': [
    "default-src 'none'",
    `style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`,
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join('; '),
};

/** @param body HTML */
const page = (status: number, title: string, body: string): HttpResponse =>
  html(
    status,
    `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Warren: ${title}</title><style>${STYLE}</style></head>
<body><main>
<h1>${title}</h1>
${body}
</main></body>
</html>
`,
    HEADERS,
  );

/** Whether the client is a browser. */
export const wantsPage = ({ accept }: Headers): boolean => String(accept ?? '').includes('text/html');

/** Opening the link does not confirm the address, because mail scanners open links too. The form posts to the page's own URL. */
export const askPage = (): HttpResponse =>
  page(
    200,
    'Confirm your e-mail address',
    '<form method="post"><p>Is this your e-mail address?</p><button>Yes, confirm it</button></form>',
  );

export const confirmedPage = (): HttpResponse =>
  page(200, 'Your e-mail address is confirmed', '<p>You can close this page.</p>');

export const resentPage = (): HttpResponse =>
  page(
    202,
    'Check your inbox',
    '<p>If your address is not confirmed yet, we will send you a new link. The number of links per hour and day is limited.</p>',
  );

/**
 * The response to an invalid or expired link.
 * @returns a page, for a browser
 * @throws {Problem} 404 `confirmation_unknown` or 410 `confirmation_expired`, for other clients
 */
export function refuse(link: Extract<Link, { kind: 'unknown' | 'expired' }>, headers: Headers): HttpResponse {
  const isPage = wantsPage(headers);
  if (link.kind === 'unknown') {
    if (isPage)
      return page(
        404,
        'This link is not valid',
        '<p>Please open the link in the e-mail again, or copy the complete link.</p>',
      );
    const detail = 'The token is invalid, or was issued for another e-mail address.';
    throw problem(404, { title: 'Confirmation not found', code: 'confirmation_unknown', detail });
  }
  if (isPage)
    return page(
      410,
      'This link has expired',
      `<form method="post" action="resend?userId=${link.userId}"><button>Send me a new link</button></form>`,
    );
  const detail = 'The link has expired; request a new one with POST /emails/resend.';
  throw problem(410, { title: 'Confirmation expired', code: 'confirmation_expired', detail });
}
