import { template } from './template.ts';

/** The first e-mail to an address that nobody has confirmed: it has nothing in it that a user wrote. */
export const confirmation = template({
  subject: 'Welcome to Warren: please confirm your e-mail address',
  text: `
Hello,

somebody has signed up to Warren with this e-mail address. If it was you, confirm it on this page:

  <%= it.link %>

The link works until <%= it.until %>. If it was not you, do nothing: nobody can have other e-mails sent to you.

The people of Warren
`,
  html: `
<p>Hello,</p>
<p>somebody has signed up to Warren with this e-mail address. If it was you, <a href="<%= it.link %>">confirm it</a>.</p>
<p>The link works until <%= it.until %>. If it was not you, do nothing: nobody can have other e-mails sent to you.</p>
<p>The people of Warren</p>
`,
});
