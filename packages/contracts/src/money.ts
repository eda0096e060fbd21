import { Joi } from '@warren/events';

export type Currency = 'EUR' | 'USD' | 'GBP';

export const currencies = ['EUR', 'USD', 'GBP'] as const satisfies readonly Currency[];

/** The most that one amount can be, in minor units: 9,999,999.99. */
export const MAX_MINOR_UNITS = 999_999_999;

/** An amount on the wire: a JSON number from 0 to 9999999.99, with at most two decimals. */
export const money = (): Joi.NumberSchema =>
  Joi.number()
    .strict()
    .min(0)
    .max(MAX_MINOR_UNITS / 100)
    .multiple(0.01)
    .messages({ 'number.multiple': '{{#label}} must have at most two decimals' });

export const currency = (): Joi.StringSchema => Joi.string().valid(...currencies);

/** What `money` let pass, as an integer of minor units (cents, pence). */
export const toMinorUnits = (amount: number): number => Math.round(amount * 100);

/** Minor units as an amount on the wire. */
export const fromMinorUnits = (minorUnits: number): number => minorUnits / 100;
