import { template } from './template.ts';

export const orderReceived = template({
  subject: 'We have received your order',
  text: `
Hello <%= it.name %>,

Thank you for your order. We will e-mail you again when it has been paid.

  “<%= it.productName %>”: <%= it.amount %>
  Order <%= it.orderId %>

The Warren team
`,
  html: `
<p>Hello <%= it.name %>,</p>
<p>Thank you for your order. We will e-mail you again when it has been paid.</p>
<p>“<strong><%= it.productName %></strong>”: <%= it.amount %><br>Order <%= it.orderId %></p>
<p>The Warren team</p>
`,
});
