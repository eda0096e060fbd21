// Reads a JSON body: 415 for another type, 413 for one that is too large, 400 for one that is not JSON.
import { decodeUtf8 } from '@warren/events';
import type { Context } from 'koa';
import { problem } from '../errors.ts';
import { invalidEncoding, readContent } from './content.ts';

/** @param limit bytes, after decompression */
export function jsonBody(limit: number): (ctx: Context) => Promise<unknown> {
  return async (ctx) => {
    if (isEmpty(ctx)) return {};
    if (!ctx.is('json', '+json')) {
      const type = ctx.get('content-type') || 'missing';
      throw problem(415, { detail: `The content-type must be application/json; it is ${type}.` });
    }
    const { charset } = ctx.request;
    if (charset && !/^utf-?8$/i.test(charset))
      throw problem(415, { detail: `The body must be UTF-8, not ${charset}.` });
    return parse(textOf(await readContent(ctx.req, limit)));
  };
}

/** @throws {Problem} 400 `malformed_json`, also for a value that is neither an object nor a list */
function parse(text: string): unknown {
  // A client that sends the length of an empty text sends no body.
  if (text === '') return {};
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null)
      throw new SyntaxError('the value must be an object or an array');
    return value;
  } catch (error) {
    const cause = error as SyntaxError;
    throw problem(400, {
      title: 'Malformed JSON',
      code: 'malformed_json',
      detail: `Invalid JSON body: ${cause.message}.`,
      cause,
    });
  }
}

function isEmpty({ req }: Context): boolean {
  return req.headers['transfer-encoding'] === undefined && Number(req.headers['content-length'] ?? 0) === 0;
}

function textOf(bytes: Buffer): string {
  try {
    return decodeUtf8(bytes);
  } catch (error) {
    throw invalidEncoding('The body is not valid UTF-8.', error);
  }
}
