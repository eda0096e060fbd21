import { template } from './template.ts';

export const orderCancelled = template({
  subject: 'Your order is cancelled',
  text: `
Hello <%= it.name %>,

we had to cancel your order, because <%= it.reason %>. Should money have been taken for it, you get it back.

  “<%= it.productName %>”: <%= it.amount %>
  Order <%= it.orderId %>

The people of Warren
`,
  html: `
<p>Hello <%= it.name %>,</p>
<p>we had to cancel your order, because <%= it.reason %>. Should money have been taken for it, you get it back.</p>
<p>“<strong><%= it.productName %></strong>”: <%= it.amount %><br>Order <%= it.orderId %></p>
<p>The people of Warren</p>
`,
});
