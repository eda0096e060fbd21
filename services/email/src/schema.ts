// The tables of the service.
import type { TemplateName } from './templates/index.ts';

export type Status = 'pending' | 'sent' | 'failed';

export interface EmailSchema {
  users: {
    id: string;
    name: string;
    email: string;
    /** Null until confirmed. The time of the sign-up if no confirmation was required. */
    confirmed_at: Date | null;
  };
  emails: {
    id: string;
    user_id: string;
    template: TemplateName;
    /** Id of the user, order or payment. Unique per template. A repeated confirmation has a new id. */
    reference: string;
    /** Values for the template, in addition to the user's name. */
    facts: object;
    subject: string;
    /** Null until the user is known: the e-mail waits. */
    recipient: string | null;
    status: Status;
    refusal: string | null;
    refusals: number;
    created_at: Date;
    sent_at: Date | null;
    /** Waits for the confirmation of its address; if it failed, the address was never confirmed. */
    unconfirmed: boolean;
    /** When EMAILS_PER_HOUR allows sending it. Null while it waits, and in rows of older versions. */
    slot_at: Date | null;
  };
}
