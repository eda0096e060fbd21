import { template } from './template.ts';

export const paymentRefunded = template({
  subject: 'Your money is on its way back',
  text: `
Hello <%= it.name %>,

we have refunded your payment, because your order was cancelled: <%= it.reason %>.

  Refunded: <%= it.amount %>
  Order <%= it.orderId %>

The people of Warren
`,
  html: `
<p>Hello <%= it.name %>,</p>
<p>we have refunded your payment, because your order was cancelled: <%= it.reason %>.</p>
<p>Refunded: <strong><%= it.amount %></strong><br>Order <%= it.orderId %></p>
<p>The people of Warren</p>
`,
});
