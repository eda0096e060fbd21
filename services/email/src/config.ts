import { Joi, port, positiveDuration, url } from '@warren/chassis';

export interface EmailConfig {
  PORT: number;
  ADMIN_PORT: number;
  /** The mail server. Without it, e-mails are only logged and stored. */
  SMTP_URL?: string;
  /** Sender address; Message-IDs use its domain. Required with SMTP_URL. */
  MAIL_FROM?: string;
  /** Whether new users must confirm their address before other e-mails are sent to it. */
  EMAIL_CONFIRMATION: 'on' | 'off';
  /** The first key signs links; all keys are accepted. Required with EMAIL_CONFIRMATION=on. */
  EMAIL_CONFIRMATION_KEY?: readonly string[];
  /** How long a link is valid, and how long other e-mails wait for the confirmation, ms */
  EMAIL_CONFIRMATION_TTL: number;
  /** Public URL of the gateway, without a slash at the end. Required with EMAIL_CONFIRMATION=on. */
  PUBLIC_URL?: string;
  /** Maximum number of e-mails to one address per hour. */
  EMAILS_PER_HOUR: number;
}

/** Allowed options of nodemailer (https://nodemailer.com/smtp/). Others would override ours, or log secrets. */
const OPTIONS: Record<string, RegExp> = {
  requireTLS: /^(true|false)$/,
  'tls.rejectUnauthorized': /^(true|false)$/,
  'tls.servername': /^[\w.-]+$/,
  name: /^[\w.-]+$/,
};

/** Refuses URLs with which nodemailer would fail at the first e-mail, or that it would misread. Messages never quote the URL. */
const smtpUrl = url('smtp', 'smtps')
  .custom((value: string, helpers) => {
    const parsed = URL.parse(value);
    if (parsed === null) return value; // refused by url() already
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
    'smtp.host': 'must contain a host, e.g. smtp://user:password@host:587',
    'smtp.encoding': 'must have a percent-encoded user name and password (write % as %25 and @ as %40)',
    'smtp.rest':
      'must not have a path or a fragment (percent-encode special characters in the user name and password, e.g. # as %23)',
    'smtp.option':
      'may have only these options, each at most once: requireTLS=true|false, tls.rejectUnauthorized=true|false, tls.servername=NAME, name=NAME',
  });

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

/** Minimum length of a key: that of an HMAC-SHA256. https://www.rfc-editor.org/rfc/rfc2104#section-3 */
const KEY_BYTES = 32;

/** One key, or two during a key rotation. */
const keys = Joi.any()
  .custom((text, helpers) => {
    const given = String(text)
      .split(',')
      .map((key) => key.trim());
    const areKeys = given.length <= 2 && given.every((key) => Buffer.byteLength(key) >= KEY_BYTES);
    return areKeys ? given : helpers.error('any.invalid');
  })
  .messages({ 'any.invalid': `must be a key of at least ${KEY_BYTES} bytes, or two separated by a comma` });

const publicUrl = url('http', 'https')
  .custom((value: string, helpers) => {
    const parsed = URL.parse(value);
    if (parsed === null) return value; // refused by url() already
    const { origin, pathname, search, hash, username, password } = parsed;
    if (search || hash || username || password) return helpers.error('url.base');
    return `${origin}${pathname}`.replace(/\/+$/, '');
  })
  .messages({ 'url.base': 'must be like https://shop.example.com, without user name, query or fragment' });

/** Required with EMAIL_CONFIRMATION=on. */
const whereConfirmed = <Schema extends Joi.Schema>(schema: Schema) =>
  schema.when('EMAIL_CONFIRMATION', { not: 'on', otherwise: Joi.required() });

export const config = {
  PORT: port(3005),
  ADMIN_PORT: port(9005),
  SMTP_URL: smtpUrl
    .example('smtp://user:password@host:587')
    .description(
      'The mail server: `smtp://user:password@host:587`, or `smtps://`. Without it, e-mails are only logged and stored.',
    ),
  MAIL_FROM: Joi.string()
    .email({ tlds: false, minDomainSegments: 1, allowUnicode: false })
    .max(254)
    .when('SMTP_URL', { not: Joi.exist(), otherwise: Joi.required() })
    .example('shop@example.com')
    .description('The sender of the e-mails; its domain is also that of their `Message-ID`.'),
  EMAIL_CONFIRMATION: Joi.valid('on', 'off')
    .default('off')
    .description(
      '`on`: new users must confirm their address before other e-mails are sent to it. In YAML, quote the value.',
    ),
  EMAIL_CONFIRMATION_KEY: whereConfirmed(keys.example('the output of: openssl rand -base64 32')).description(
    'Key that signs the links, at least 32 bytes; or two keys separated by a comma: the first signs, and both are accepted.',
  ),
  EMAIL_CONFIRMATION_TTL: positiveDuration('7d').description(
    'How long a link is valid, and how long other e-mails wait for the confirmation before they fail.',
  ),
  PUBLIC_URL: whereConfirmed(publicUrl.example('https://shop.example.com')).description(
    'Public URL of the gateway, for the links.',
  ),
  // The database stores this many slots for each address.
  EMAILS_PER_HOUR: Joi.number()
    .integer()
    .min(1)
    .max(1_000)
    .default(20)
    .description('Maximum number of e-mails to one address per hour; more are sent later.'),
};
