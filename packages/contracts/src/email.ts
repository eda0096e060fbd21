import { defineEvent, text, uuid } from '@warren/events';

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
    template: text(100).required(),
  },
});
