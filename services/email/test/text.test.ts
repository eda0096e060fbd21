import { expect } from 'chai';
import fc from 'fast-check';
import { type TemplateName, templates } from '../src/templates/index.ts';
import { moneyText, oneLine, reasonText } from '../src/text.ts';

const anything = fc.string({ unit: 'binary', maxLength: 200 });
const NOT_ONE_LINE = /[\p{Cc}\p{Cs}\u2028\u2029\u202a-\u202e\u2066-\u2069]/u;

describe('text of others', () => {
  it('becomes one line of well-formed text, whatever it was', () => {
    fc.assert(
      fc.property(anything, (text) => {
        const line = oneLine(text);
        expect(line).to.not.match(NOT_ONE_LINE);
        expect(line.isWellFormed()).to.equal(true);
        expect(oneLine(line)).to.equal(line);
      }),
      { numRuns: 2_000 },
    );
    expect(oneLine('a\r\nb\u0000c\u2028d\u202ee\ud800f')).to.equal('a b c d e\ufffdf');
  });

  it('stays as it is where it is one already', () => {
    for (const name of ['Ada Lovelace', "Conan O'Brien", '名前 太郎', 'Zoë 👩‍🚀', '<b>"&', 'עדה'])
      expect(oneLine(name)).to.equal(name);
  });

  it('has amounts in their currency, to the cent', () => {
    expect(moneyText(1234.5, 'EUR')).to.equal('€1,234.50');
    expect(moneyText(0, 'USD')).to.equal('$0.00');
    expect(moneyText(9_999_999.99, 'GBP')).to.equal('£9,999,999.99');
  });

  it('has a sentence for the reasons it knows, and the others as they are', () => {
    expect(reasonText('payment_timeout')).to.equal('it was not paid in time');
    expect(reasonText('card\r\nexpired_today')).to.equal('card expired today');
    expect(reasonText('constructor')).to.equal('constructor');
  });
});

describe('templates', () => {
  const facts = (text: string) => ({
    name: text,
    productName: text,
    orderId: text,
    amount: text,
    reason: text,
  });

  for (const name of Object.keys(templates) as TemplateName[]) {
    it(`let nothing of ${name} be read as HTML, and leave the text as it is`, () => {
      fc.assert(
        fc.property(anything, (noise) => {
          const hostile = `<script>"'&</script>${noise}`;
          const { html, text } = templates[name].render(facts(hostile));
          const plain = templates[name].render(facts('')).html;
          for (const sign of ['<', '>', '"', "'"])
            expect(html.split(sign).length, sign).to.equal(plain.split(sign).length);
          expect(html).to.contain('&lt;script&gt;&quot;&#39;&amp;&lt;/script&gt;');
          expect(text).to.contain(hostile);
        }),
      );
    });

    it(`leave no field of ${name} out, and none open`, () => {
      const { subject, text, html } = templates[name].render(facts('FACT'));
      for (const part of [subject, text, html]) expect(part).to.not.match(/undefined|<%|%>|it\./);
      expect(text.split('FACT').length).to.equal(html.split('FACT').length);
    });

    it(`keep the subject of ${name} to one line, without the user's name`, () => {
      const subject = templates[name].subject({ ...facts('a\r\nBcc: b@example.com'), name: 'NAME' });
      expect(subject).to.not.match(NOT_ONE_LINE);
      expect(subject).to.not.contain('NAME');
    });
  }
});
