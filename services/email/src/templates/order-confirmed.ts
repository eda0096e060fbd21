import { template } from './template.ts';

export const orderConfirmed = template({
  subject: 'Your order is confirmed',
  text: `
Hello <%= it.name %>,

Your order has been paid and is confirmed.

  “<%= it.productName %>”: <%= it.amount %>
  Order <%= it.orderId %>

The Warren team
`,
  html: `
<p>Hello <%= it.name %>,</p>
<p>Your order has been paid and is confirmed.</p>
<p>“<strong><%= it.productName %></strong>”: <%= it.amount %><br>Order <%= it.orderId %></p>
<p>The Warren team</p>
`,
});
