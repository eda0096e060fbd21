// Lists in pages, so that no response grows with the data of a client.
import { Joi, uuid } from '@warren/events';
import { problem } from '../errors.ts';

export interface Paging {
  /** Items on the page, 1 to 100. */
  limit: number;
  /** `next` of the page before. */
  after?: string;
}

export interface Page<Item> {
  items: Item[];
  /** The `after` of the next page; null on the last. */
  next: string | null;
}

/** For the query of a route: `limit` and `after`. */
export const paging = {
  limit: Joi.number().integer().min(1).max(100).default(50),
  after: uuid().lowercase(),
};

/** For the responses of a route. */
export const pageOf = <Item>(item: Joi.Schema<Item>): Joi.ObjectSchema<Page<Item>> =>
  Joi.object({
    items: Joi.array().items(item).required(),
    next: uuid().lowercase().allow(null).required(),
  });

/**
 * Refuses a cursor that is not in the list, because an empty page would look like the end of the list.
 * @param find returns the item with that id if it is in this list
 * @throws {Problem} 400 `cursor_unknown`
 */
export async function requireCursor(
  after: string | undefined,
  find: (id: string) => Promise<unknown>,
): Promise<void> {
  if (after === undefined || (await find(after)) !== undefined) return;
  throw problem(400, {
    title: 'Unknown cursor',
    code: CURSOR_UNKNOWN,
    detail: `Item ${after} is not in this list: "after" must be the "next" of a page of the same list.`,
  });
}

/** The code of {@link requireCursor}, for the `responses` of a route. */
export const CURSOR_UNKNOWN = 'cursor_unknown';

/** A page of ordered rows. The caller reads one row more than `limit`, to know whether there is a next page. */
export function toPage<Row extends { id: string }, Item>(
  rows: readonly Row[],
  limit: number,
  toItem: (row: Row) => Item,
): Page<Item> {
  const page = rows.slice(0, limit);
  return { items: page.map(toItem), next: rows.length > limit ? (page.at(-1)?.id ?? null) : null };
}
