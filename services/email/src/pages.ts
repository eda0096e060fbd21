// The pages that a browser sees behind the link of a confirmation: one form at most, no script, and nothing that a user wrote.
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

/** Whether whoever asks is a browser. */
export const wantsPage = ({ accept }: Headers): boolean => String(accept ?? '').includes('text/html');

/** Following the link confirms nothing: mail scanners follow it, too. The form goes to the address of the page itself. */
export const askPage = (): HttpResponse =>
  page(
    200,
    'Confirm your e-mail address',
    '<form method="post"><p>Is this e-mail address yours?</p><button>Yes, confirm it</button></form>',
  );

export const confirmedPage = (): HttpResponse =>
  page(200, 'Your e-mail address is confirmed', '<p>You can close this page.</p>');

export const resentPage = (): HttpResponse =>
  page(
    202,
    'Please read your e-mails',
    '<p>If your address is not confirmed yet, a new link is on its way, unless you had several of late.</p>',
  );

/**
 * The response to a link that confirms nothing.
 * @returns a page, for a browser
 * @throws {Problem} 404 `confirmation_unknown` or 410 `confirmation_expired`, for everybody else
 */
export function refuse(link: Extract<Link, { kind: 'unknown' | 'expired' }>, headers: Headers): HttpResponse {
  const isPage = wantsPage(headers);
  if (link.kind === 'unknown') {
    if (isPage)
      return page(
        404,
        'This link is not valid',
        '<p>Please open the link in the e-mail once more, or copy all of it.</p>',
      );
    const detail = 'The token is not one of ours, or not for the address that the user has.';
    throw problem(404, { title: 'Confirmation unknown', code: 'confirmation_unknown', detail });
  }
  if (isPage)
    return page(
      410,
      'This link has expired',
      `<form method="post" action="resend?userId=${link.userId}"><button>Send me a new one</button></form>`,
    );
  const detail = 'The link has expired: POST /emails/resend sends a new one.';
  throw problem(410, { title: 'Confirmation expired', code: 'confirmation_expired', detail });
}
