import { template } from './template.ts';

export const welcome = template({
  subject: 'Welcome to Warren',
  text: `
Hello <%= it.name %>,

Welcome to Warren. Your account is ready.

The Warren team
`,
  html: `
<p>Hello <%= it.name %>,</p>
<p>Welcome to Warren. Your account is ready.</p>
<p>The Warren team</p>
`,
});
