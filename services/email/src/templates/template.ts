// Renders e-mails with eta: values are escaped in HTML, and unchanged in the text.
import { Eta } from 'eta/core';

export interface Content {
  subject: string;
  text: string;
  html: string;
}

export interface Template {
  /** Fixed: mail programs show it first, so it contains nothing that a user wrote. */
  subject: string;
  /** @param facts the fields that the template reads from `it` */
  render(facts: object): Content;
}

const plain = new Eta({ autoEscape: false, autoTrim: false });
const escaped = new Eta({ autoEscape: true, autoTrim: false });

const page = (body: string) => `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="format-detection" content="telephone=no, date=no, address=no, email=no, url=no"></head>
<body style="margin: 0; padding: 24px; background: #f6f6f4; color: #222; font: 16px/1.5 sans-serif">
<div style="max-width: 560px; margin: 0 auto; padding: 24px; background: #fff; border-radius: 8px">
${body.trim()}
</div>
</body>
</html>
`;

/**
 * Compiles a template, in the syntax of eta: `<%= it.name %>`.
 * https://eta.js.org/docs/4.x.x/syntax/template-syntax
 */
export function template(source: { subject: string; text: string; html: string }): Template {
  const { subject } = source;
  const text = plain.compile(`${source.text.trim()}\n`);
  const html = escaped.compile(page(source.html));
  return {
    subject,
    render: (facts) => ({ subject, text: plain.render(text, facts), html: escaped.render(html, facts) }),
  };
}
