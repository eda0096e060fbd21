// Formats text for an e-mail: text of users as one line without links, amounts, times and reasons.
import { type Currency, currencies } from '@warren/contracts';

/**
 * One line of well-formed text. Control characters, all line breaks and bidirectional marks become spaces: the database
 * refuses some of them, and in a mail header the others are unsafe.
 */
export const oneLine = (text: string): string =>
  text
    .toWellFormed()
    .replace(/[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]+/gu, ' ')
    .trim();

/**
 * Inserts a space wherever a mail program could detect a link: `https: //example. com`, `www. example. com`. That is after a colon
 * or a dot inside a word, including the dots that browsers normalize to `.`; between two digits (12:30, 1.5) nothing changes.
 */
export const unlinked = (text: string): string =>
  text
    .replace(/(?<=[\p{L}\p{N}+.-]):(?=[^\s:])(?!(?<=\p{N}:)\p{N})/gu, ': ')
    .replace(/(?<=\S)([.\u3002\uff0e\uff61])(?=[^\s\p{P}])(?!(?<=\p{N}.)\p{N})/gu, '$1 ');

const formats = new Map(
  currencies.map((currency) => [currency, new Intl.NumberFormat('en', { style: 'currency', currency })]),
);

/** e.g. `€1,234.50` */
export const moneyText = (amount: number, currency: Currency): string =>
  (formats.get(currency) as Intl.NumberFormat).format(amount);

const times = new Intl.DateTimeFormat('en-GB', { dateStyle: 'long', timeStyle: 'short', timeZone: 'UTC' });

/** e.g. `7 December 2026 at 11:50 UTC` */
export const timeText = (time: Date): string => `${times.format(time)} UTC`;

const reasons: Readonly<Record<string, string>> = {
  limit_exceeded: 'the amount is above the limit for one payment',
  payment_timeout: 'it was not paid in time',
};

/** The reason of an event as it follows "We had to cancel your order:". An unknown reason keeps its words. */
export const reasonText = (reason: string): string =>
  Object.hasOwn(reasons, reason) ? (reasons[reason] as string) : oneLine(reason).replaceAll('_', ' ');
