// Reads a JSON body: 415 for another type, 413 for one that is too large, 400 for one that is no JSON.
import { bodyParser } from '@koa/bodyparser';
import type { Context } from 'koa';
import { problem } from '../errors.ts';

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
    try {
      await parse(ctx as Parameters<typeof parse>[0], async () => {});
    } catch (error) {
      throw refusal(error as ReadError, limit);
    }
    return ctx.request.body;
  };
}

function isEmpty({ req }: Context): boolean {
  return req.headers['transfer-encoding'] === undefined && Number(req.headers['content-length'] ?? 0) === 0;
}

interface ReadError extends Error {
  status?: number;
  type?: string;
}

function refusal(cause: ReadError, limit: number): Error {
  const { status, type, message } = cause;
  if (status === 413) return problem(413, { detail: `The body may have ${limit} bytes at most.`, cause });
  if (status === 415)
    return problem(415, { detail: `The body has a content-encoding that is not understood.`, cause });
  if (type === 'request.aborted') return problem(400, { detail: 'The body ended early.', cause });
  if (cause instanceof SyntaxError)
    return problem(400, {
      title: 'Malformed JSON',
      code: 'malformed_json',
      detail: `The body is no JSON object: ${message}.`,
      cause,
    });
  return problem(400, { detail: 'The body cannot be read.', cause });
}
