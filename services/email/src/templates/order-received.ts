import { template } from './template.ts';

export const orderReceived = template({
  subject: 'We have received your order',
  text: `
Hello <%= it.name %>,

thank you for your order. We will write again when it is paid.

  “<%= it.productName %>”: <%= it.amount %>
  Order <%= it.orderId %>

The people of Warren
`,
  html: `
<p>Hello <%= it.name %>,</p>
<p>thank you for your order. We will write again when it is paid.</p>
<p>“<strong><%= it.productName %></strong>”: <%= it.amount %><br>Order <%= it.orderId %></p>
<p>The people of Warren</p>
`,
});
