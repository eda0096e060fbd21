import { Joi, port, url } from '@warren/chassis';

export interface EmailConfig {
  PORT: number;
  ADMIN_PORT: number;
  /** The mail server; without it, e-mails go to the log and the store only. */
  SMTP_URL?: string;
  /** Address the e-mails are from; its domain is also that of their Message-IDs. There when SMTP_URL is. */
  MAIL_FROM?: string;
}

/** Of nodemailer's options, those an operator may need: https://nodemailer.com/smtp/. Others would undo ours, or log secrets. */
const OPTIONS: Record<string, RegExp> = {
  requireTLS: /^(true|false)$/,
  'tls.rejectUnauthorized': /^(true|false)$/,
  'tls.servername': /^[\w.-]+$/,
  name: /^[\w.-]+$/,
};

/** What nodemailer would fail at with the first e-mail, or quietly read in another way. No message quotes the URL. */
const smtpUrl = url('smtp', 'smtps')
  .custom((value: string, helpers) => {
    const parsed = URL.parse(value);
    if (parsed === null) return value; // said already
    if (parsed.hostname === '') return helpers.error('smtp.host');
    if (!isDecodable(parsed.username) || !isDecodable(parsed.password)) return helpers.error('smtp.encoding');
    if (!/^\/?$/.test(parsed.pathname) || parsed.hash !== '') return helpers.error('smtp.rest');
    const options = [...parsed.searchParams];
    const names = new Set(options.map(([name]) => name));
    if (names.size < options.length) return helpers.error('smtp.option');
    for (const [name, setting] of options)
      if (!Object.hasOwn(OPTIONS, name) || !OPTIONS[name]?.test(setting)) return helpers.error('smtp.option');
    return value;
  })
  .messages({
    'smtp.host': 'names no host; it is like smtp://user:password@host:587',
    'smtp.encoding':
      'has a user name or password that is not percent-encoded (a % itself is written %25, an @ is written %40)',
    'smtp.rest':
      'has a path or a fragment (special characters in a user name or password are percent-encoded, e.g. %23 for #)',
    'smtp.option':
      'may have these options only, each once: requireTLS=true|false, tls.rejectUnauthorized=true|false, tls.servername=NAME, name=NAME',
  });

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

export const config = {
  PORT: port(3005),
  ADMIN_PORT: port(9005),
  SMTP_URL: smtpUrl.example('smtp://user:password@host:587'),
  MAIL_FROM: Joi.string()
    .email({ tlds: false, minDomainSegments: 1, allowUnicode: false })
    .max(254)
    .when('SMTP_URL', { not: Joi.exist(), otherwise: Joi.required() })
    .example('shop@example.com'),
};
