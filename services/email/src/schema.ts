// The tables of the service.
import type { TemplateName } from './templates/index.ts';

export type Status = 'pending' | 'sent' | 'failed';

export interface EmailSchema {
  users: {
    id: string;
    name: string;
    email: string;
    /** Null until then; as good as always where nobody was asked. */
    confirmed_at: Date | null;
  };
  emails: {
    id: string;
    user_id: string;
    template: TemplateName;
    /** What it is about: the user, the order or the payment. One e-mail of a template about each: unique. Of a confirmation that is sent again, an id of its own. */
    reference: string;
    /** What the template names besides the user. */
    facts: object;
    subject: string;
    /** Absent while the user is not known yet: the e-mail waits. */
    recipient: string | null;
    status: Status;
    refusal: string | null;
    refusals: number;
    created_at: Date;
    sent_at: Date | null;
    /** Waits until its address is confirmed; where it has failed, it waited in vain. */
    unconfirmed: boolean;
    /** When EMAILS_PER_HOUR lets it go. Null while it waits, and of an older version. */
    slot_at: Date | null;
  };
}
