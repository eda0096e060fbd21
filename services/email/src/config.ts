import { duration, Joi, port, url } from '@warren/chassis';

export interface EmailConfig {
  PORT: number;
  ADMIN_PORT: number;
  /** The mail server; without it, e-mails go to the log and the store only. */
  SMTP_URL?: string;
  /** Address the e-mails are from; its domain is also that of their Message-IDs. There when SMTP_URL is. */
  MAIL_FROM?: string;
  /** Whether those who sign up from now on confirm their address before anything else is sent to it. */
  EMAIL_CONFIRMATION: 'on' | 'off';
  /** The first one signs links, all of them are accepted. There when EMAIL_CONFIRMATION is on. */
  EMAIL_CONFIRMATION_KEY?: readonly string[];
  /** ms that a link works, and that other e-mails wait for it. */
  EMAIL_CONFIRMATION_TTL: number;
  /** Where people reach the gateway, without a slash at the end. There when EMAIL_CONFIRMATION is on. */
  PUBLIC_URL?: string;
  /** To one address. */
  EMAILS_PER_HOUR: number;
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

/** Bytes of a key: as many as its HMAC-SHA256 has. https://www.rfc-editor.org/rfc/rfc2104#section-3 */
const KEY_BYTES = 32;

/** One key, or two while one takes the place of the other. */
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
    if (parsed === null) return value; // said already
    const { origin, pathname, search, hash, username, password } = parsed;
    if (search || hash || username || password) return helpers.error('url.base');
    return `${origin}${pathname}`.replace(/\/+$/, '');
  })
  .messages({ 'url.base': 'must be like https://shop.example.com, without user name, query or fragment' });

/** Required where e-mail addresses are to be confirmed. */
const whereConfirmed = <Schema extends Joi.Schema>(schema: Schema) =>
  schema.when('EMAIL_CONFIRMATION', { not: 'on', otherwise: Joi.required() });

export const config = {
  PORT: port(3005),
  ADMIN_PORT: port(9005),
  SMTP_URL: smtpUrl
    .example('smtp://user:password@host:587')
    .description(
      'The mail server: `smtp://user:password@host:587`, or `smtps://`. Without it, e-mails go to the log and the store only.',
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
      '`on`: everybody who signs up from now on confirms the address before anything else is sent to it. In YAML, quote the value.',
    ),
  EMAIL_CONFIRMATION_KEY: whereConfirmed(keys.example('the output of: openssl rand -base64 32')).description(
    'Signs the links: at least 32 bytes, or two such keys separated by a comma, of which the first signs and both are accepted.',
  ),
  EMAIL_CONFIRMATION_TTL: duration('7d')
    .invalid(0)
    .messages({ 'any.invalid': 'must be longer than 0' })
    .description('How long a link works, and how long other e-mails wait before they fail.'),
  PUBLIC_URL: whereConfirmed(publicUrl.example('https://shop.example.com')).description(
    'Where people reach the gateway: links begin with it.',
  ),
  // The slots of that many e-mails are kept for each address.
  EMAILS_PER_HOUR: Joi.number()
    .integer()
    .min(1)
    .max(1_000)
    .default(20)
    .description('E-mails to one address in any hour; more are sent later.'),
};
