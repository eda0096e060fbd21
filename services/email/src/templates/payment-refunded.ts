import { template } from './template.ts';

export const paymentRefunded = template({
  subject: 'Your payment has been refunded',
  text: `
Hello <%= it.name %>,

We have refunded your payment. Your order was cancelled: <%= it.reason %>.

  Refunded: <%= it.amount %>
  Order <%= it.orderId %>

The Warren team
`,
  html: `
<p>Hello <%= it.name %>,</p>
<p>We have refunded your payment. Your order was cancelled: <%= it.reason %>.</p>
<p>Refunded: <strong><%= it.amount %></strong><br>Order <%= it.orderId %></p>
<p>The Warren team</p>
`,
});
