import { template } from './template.ts';

export const orderCancelled = template({
  subject: 'Your order has been cancelled',
  text: `
Hello <%= it.name %>,

We had to cancel your order: <%= it.reason %>. If you were charged, you will be refunded.

  “<%= it.productName %>”: <%= it.amount %>
  Order <%= it.orderId %>

The Warren team
`,
  html: `
<p>Hello <%= it.name %>,</p>
<p>We had to cancel your order: <%= it.reason %>. If you were charged, you will be refunded.</p>
<p>“<strong><%= it.productName %></strong>”: <%= it.amount %><br>Order <%= it.orderId %></p>
<p>The Warren team</p>
`,
});
