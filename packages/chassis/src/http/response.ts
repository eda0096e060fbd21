import type { Context } from 'koa';
import type { Problem } from '../errors.ts';
import { HttpResponse } from './routes.ts';

/** What goes over the wire: the same bytes for the first request and for its repeats. */
export interface RenderedResponse {
  status: number;
  headers: Record<string, string>;
  body: string | undefined;
}

/** @throws {TypeError} when the result is no object, or none that JSON can hold */
export function renderResponse(result: object): RenderedResponse {
  if (typeof result !== 'object' || result === null)
    throw new TypeError(`a handler returned ${result}, not an object`);
  const { status, headers, body } = result instanceof HttpResponse ? result : new HttpResponse(200, result);
  return {
    status,
    headers: body === undefined ? headers : { 'content-type': 'application/json; charset=utf-8', ...headers },
    body: typeof body === 'object' ? JSON.stringify(body) : body,
  };
}

export function renderProblem(problem: Problem): RenderedResponse {
  return {
    status: problem.status,
    headers: { ...problem.headers, 'content-type': 'application/problem+json; charset=utf-8' },
    body: JSON.stringify(problem),
  };
}

export function send(ctx: Context, { status, headers, body }: RenderedResponse): void {
  ctx.status = status;
  ctx.set(headers);
  // Without a body Koa would write the status in words.
  ctx.response.body = body ?? null;
  if (body === undefined) ctx.status = status;
}
