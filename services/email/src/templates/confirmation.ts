import { template } from './template.ts';

/** The first e-mail to an unconfirmed address. It contains nothing that a user wrote. */
export const confirmation = template({
  subject: 'Welcome to Warren: please confirm your e-mail address',
  text: `
Hello,

Someone signed up to Warren with this e-mail address. If it was you, please confirm the address on this page:

  <%= it.link %>

The link is valid until <%= it.until %>. If it was not you, ignore this e-mail: we send no other e-mails to an unconfirmed address.

The Warren team
`,
  html: `
<p>Hello,</p>
<p>Someone signed up to Warren with this e-mail address. If it was you, please <a href="<%= it.link %>">confirm the address</a>.</p>
<p>The link is valid until <%= it.until %>. If it was not you, ignore this e-mail: we send no other e-mails to an unconfirmed address.</p>
<p>The Warren team</p>
`,
});
