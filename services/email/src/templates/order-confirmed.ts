import { template } from './template.ts';

export const orderConfirmed = template({
  subject: 'Your order is confirmed',
  text: `
Hello <%= it.name %>,

your order is paid and confirmed.

  “<%= it.productName %>”: <%= it.amount %>
  Order <%= it.orderId %>

The people of Warren
`,
  html: `
<p>Hello <%= it.name %>,</p>
<p>your order is paid and confirmed.</p>
<p>“<strong><%= it.productName %></strong>”: <%= it.amount %><br>Order <%= it.orderId %></p>
<p>The people of Warren</p>
`,
});
