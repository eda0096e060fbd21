import type { Context } from 'koa';
import { PROBLEM_TYPE, type Problem } from '../errors.ts';
import { HttpResponse } from './routes.ts';

export const JSON_UTF8 = 'application/json; charset=utf-8';

/** A response as it is sent: the same bytes for the first request and for its repeats. */
export interface RenderedResponse {
  status: number;
  headers: Record<string, string>;
  body: string | undefined;
}

/** @throws {TypeError} when the result is not an object, or JSON cannot represent it */
export function renderResponse(result: object): RenderedResponse {
  if (typeof result !== 'object' || result === null)
    throw new TypeError(`a handler returned ${result}, not an object`);
  const { status, headers, body } = result instanceof HttpResponse ? result : new HttpResponse(200, result);
  return {
    status,
    headers: body === undefined ? headers : { 'content-type': JSON_UTF8, ...headers },
    body: typeof body === 'object' ? JSON.stringify(body) : body,
  };
}

export function renderProblem(problem: Problem): RenderedResponse {
  return {
    status: problem.status,
    headers: { ...problem.headers, 'content-type': `${PROBLEM_TYPE}; charset=utf-8` },
    body: JSON.stringify(problem),
  };
}

export function send(ctx: Context, { status, headers, body }: RenderedResponse): void {
  ctx.status = status;
  ctx.set(headers);
  // Without a body Koa would send the text of the status.
  ctx.response.body = body ?? null;
  if (body === undefined) ctx.status = status;
}
