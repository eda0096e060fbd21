import Joi from 'joi';
import { defineEvent, uuid } from './event.ts';

export interface EmailSent {
  emailId: string;
  userId: string;
  /** e.g. `welcome` */
  template: string;
}

/** An e-mail was handed over for delivery. From: email. */
export const emailSent = defineEvent<EmailSent>({
  type: 'email.sent',
  version: 1,
  mayGoUnconsumed: true,
  data: {
    emailId: uuid().required(),
    userId: uuid().required(),
    template: Joi.string().max(100).required(),
  },
});
