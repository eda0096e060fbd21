// What the platform reads from a service, on a port of its own: /metrics, /livez and /readyz.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Registry } from 'prom-client';
import { PROBLEM_TYPE, problem } from '../errors.ts';
import { JSON_UTF8 } from './response.ts';
import { createHttpServer } from './server.ts';

export interface Admin {
  listen(port: number, host?: string): Promise<number>;
  close(): Promise<void>;
}

/** @param options.readiness whether to send requests here, and the body that says why or why not */
export function createAdmin({
  registry,
  readiness,
}: {
  registry: Registry;
  readiness: { readonly isReady: boolean; report(): object };
}): Admin {
  const pages: Record<string, () => Promise<Page> | Page> = {
    '/metrics': async () => ({
      status: 200,
      type: registry.contentType,
      body: await registry.metrics(),
    }),
    // Always alive: a restart does not bring back a broker or a database.
    '/livez': () => json(200, { status: 'alive' }),
    '/readyz': () => json(readiness.isReady ? 200 : 503, readiness.report()),
  };

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { status, type, body, headers } = await pageFor(request);
    response.writeHead(status, {
      'content-type': type,
      'content-length': Buffer.byteLength(body),
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      ...headers,
    });
    response.end(request.method === 'HEAD' ? undefined : body);
  }

  async function pageFor({ method, url = '' }: IncomingMessage): Promise<Page> {
    const page = pages[url.split('?', 1)[0] as string];
    if (page === undefined) return refusal(404, `Available pages: ${Object.keys(pages).join(', ')}.`);
    if (method !== 'GET' && method !== 'HEAD') return { ...refusal(405), headers: { allow: 'GET, HEAD' } };
    try {
      return await page();
    } catch (error) {
      return refusal(500, `Cannot create this page: ${(error as Error).message}.`);
    }
  }

  const server = createHttpServer((request, response) => void answer(request, response), {
    requestTimeout: 10_000,
  });
  return { listen: (port, host) => server.listen(port, host), close: () => server.close() };
}

interface Page {
  status: number;
  type: string;
  body: string;
  headers?: Record<string, string>;
}

const json = (status: number, body: object): Page => ({
  status,
  type: JSON_UTF8,
  body: JSON.stringify(body),
});

const refusal = (status: number, detail?: string): Page => ({
  status,
  type: PROBLEM_TYPE,
  body: JSON.stringify(problem(status, { detail })),
});
