import { expect } from 'chai';
import fc from 'fast-check';
import { type TemplateName, templates } from '../src/templates/index.ts';
import { moneyText, oneLine, reasonText, timeText, unlinked } from '../src/text.ts';

const anything = fc.string({ unit: 'binary', maxLength: 200 });
const NOT_ONE_LINE = /[\p{Cc}\p{Cs}\u2028\u2029\u202a-\u202e\u2066-\u2069]/u;

describe('text of users', () => {
  it('becomes one line of well-formed text', () => {
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

  it('is unchanged if it is one line of well-formed text', () => {
    for (const name of ['Ada Lovelace', "Conan O'Brien", '名前 太郎', 'Zoë 👩‍🚀', '<b>"&', 'עדה'])
      expect(oneLine(name)).to.equal(name);
  });

  it('formats amounts in their currency, to the cent', () => {
    expect(moneyText(1234.5, 'EUR')).to.equal('€1,234.50');
    expect(moneyText(0, 'USD')).to.equal('$0.00');
    expect(moneyText(9_999_999.99, 'GBP')).to.equal('£9,999,999.99');
  });

  it('formats times in UTC', () => {
    expect(timeText(new Date('2026-12-07T23:05:00+02:00'))).to.equal('7 December 2026 at 21:05 UTC');
  });

  it('has a sentence for known reasons, and keeps the words of others', () => {
    expect(reasonText('payment_timeout')).to.equal('it was not paid in time');
    expect(reasonText('card\r\nexpired_today')).to.equal('card expired today');
    expect(reasonText('constructor')).to.equal('constructor');
  });
});

describe('text of users that could be a link', () => {
  const cases = {
    'https://evil.example/x?a=b': 'https: //evil. example/x?a=b',
    'HTTP://127.0.0.1:8080/': 'HTTP: //127.0.0.1:8080/',
    'www.example.com': 'www. example. com',
    'www.4chan.org': 'www. 4chan. org',
    'go to evil.com/login now': 'go to evil. com/login now',
    'mailto:eve@evil.co.uk': 'mailto: eve@evil. co. uk',
    'tel:+123': 'tel: +123',
    'git+://evil': 'git+: //evil',
    'пример.рф': 'пример. рф',
    'evil。com': 'evil。 com',
    'evil．com': 'evil． com',
    'xn--e1afmkfd.xn--p1ai': 'xn--e1afmkfd. xn--p1ai',
    'Node.js': 'Node. js',
  };
  for (const [text, broken] of Object.entries(cases))
    it(`is broken: ${text}`, () => expect(unlinked(text)).to.equal(broken));

  for (const text of [
    'Ada Lovelace',
    'J. R. R. Tolkien',
    'Dr. No',
    '€1,234.50',
    '12:30',
    '3.5 mm',
    'a ... b',
    '👩‍🚀',
    'std::map',
  ])
    it(`is unchanged if it is not a link: ${text}`, () => expect(unlinked(text)).to.equal(text));

  it('contains no scheme and no domain name afterwards, and does not change again', () => {
    const piece = fc.constantFrom(
      'http',
      'www',
      'a',
      '1',
      ':',
      '/',
      '.',
      '。',
      '@',
      ' ',
      '-',
      'com',
      'рф',
      '\u200b',
      '"',
    );
    const text = fc.oneof(
      anything,
      fc.array(piece, { maxLength: 20 }).map((pieces) => pieces.join('')),
    );
    fc.assert(
      fc.property(text, (given) => {
        const line = unlinked(given);
        expect(line).to.not.match(/\p{L}:\/\/|\bwww\.[^\s\p{P}]|[\p{L}\p{N}][.。．｡]\p{L}/u);
        expect(unlinked(line)).to.equal(line);
        expect(line.replaceAll(' ', '')).to.equal(given.replaceAll(' ', ''));
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('templates', () => {
  const facts = (text: string) => ({
    name: text,
    productName: text,
    orderId: text,
    amount: text,
    reason: text,
    link: text,
    until: text,
  });

  for (const name of Object.keys(templates) as TemplateName[]) {
    it(`escape values of ${name} in HTML, and not in the text`, () => {
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

    it(`fill every field of ${name}`, () => {
      const { subject, text, html } = templates[name].render(facts('FACT'));
      for (const part of [subject, text, html]) expect(part).to.not.match(/undefined|<%|%>|it\./);
      expect(text.split('FACT').length).to.equal(html.split('FACT').length);
    });

    it(`give ${name} a subject without text of a user`, () => {
      const { subject } = templates[name];
      expect(subject).to.match(/^[\w ,:'-]{5,60}$/);
      expect(templates[name].render(facts('FACT')).subject).to.equal(subject);
    });
  }
});
