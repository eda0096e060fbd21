import { line } from '@warren/events';

/** One line of text. */
export const productName = line(200);
