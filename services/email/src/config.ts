import { Joi, port, url } from '@warren/chassis';

export interface EmailConfig {
  PORT: number;
  ADMIN_PORT: number;
  /** The mail server; without it, e-mails go to the log and the store only. */
  SMTP_URL?: string;
  /** Address the e-mails are from; its domain is also that of their Message-IDs. There when SMTP_URL is. */
  MAIL_FROM?: string;
}

export const config = {
  PORT: port(3005),
  ADMIN_PORT: port(9005),
  SMTP_URL: url('smtp', 'smtps').example('smtp://user:password@host:587'),
  MAIL_FROM: Joi.string()
    .email({ tlds: false, minDomainSegments: 1, allowUnicode: false })
    .max(254)
    .when('SMTP_URL', { not: Joi.exist(), otherwise: Joi.required() })
    .example('shop@example.com'),
};
