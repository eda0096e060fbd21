import { template } from './template.ts';

export const welcome = template({
  subject: 'Welcome to Warren',
  text: `
Hello <%= it.name %>,

welcome to Warren. Your account is ready.

The people of Warren
`,
  html: `
<p>Hello <%= it.name %>,</p>
<p>welcome to Warren. Your account is ready.</p>
<p>The people of Warren</p>
`,
});
