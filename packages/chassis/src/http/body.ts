// Reads a JSON body: 415 for another type, 413 for one that is too large, 400 for one that is not JSON.
import { Readable } from 'node:stream';
import { bodyParser } from '@koa/bodyparser';
import { decodeUtf8 } from '@warren/contracts';
import type { Context } from 'koa';
import { problem } from '../errors.ts';
import { invalidEncoding, readContent } from './content.ts';

/** @param limit bytes, after decompression */
export function jsonBody(limit: number): (ctx: Context) => Promise<unknown> {
  const parse = bodyParser({
    parsedMethods: ['POST', 'PUT', 'PATCH', 'DELETE'],
    detectJSON: () => true,
    jsonLimit: limit,
  });
  return async (ctx) => {
    if (isEmpty(ctx)) return {};
    if (!ctx.is('json', '+json')) {
      const type = ctx.get('content-type') || 'nothing';
      throw problem(415, { detail: `The body must be application/json; its content-type says ${type}.` });
    }
    const { charset } = ctx.request;
    if (charset && !/^utf-?8$/i.test(charset))
      throw problem(415, { detail: `The body must be UTF-8, not ${charset}.` });
    const text = textOf(await readContent(ctx.req, limit));
    try {
      await parse(holding(ctx, text) as Parameters<typeof parse>[0], async () => {});
    } catch (error) {
      throw refusal(error as Error);
    }
    return ctx.request.body;
  };
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

/** The context with a body that is complete and decoded: the parser has no stream of the client's to wait for. */
function holding(ctx: Context, text: string): Context {
  const req = Object.assign(Readable.from([Buffer.from(text)]), { headers: {} });
  return Object.create(ctx, { req: { value: req } });
}

function refusal(cause: Error): Error {
  if (cause instanceof SyntaxError)
    return problem(400, {
      title: 'Malformed JSON',
      code: 'malformed_json',
      detail: `The body is no JSON object: ${cause.message}.`,
      cause,
    });
  return problem(400, { detail: 'The body cannot be read.', cause });
}
