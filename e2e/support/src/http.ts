// A client whose connections the tests can look at. Traffic stays on this machine.
import { Agent, type IncomingHttpHeaders, request } from 'node:http';
import { type Authorize, noTokens } from './tokens.ts';

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  // biome-ignore lint/suspicious/noExplicitAny: a test looks into it as it likes
  body: any;
}

export interface HttpClient {
  /** @throws {Error} with Node's `code`, and `fresh`: whether the connection had been opened for this request */
  send(method: string, url: string, options?: SendOptions): Promise<Answer>;
  /** Ends the idle connections. */
  close(): void;
}

export interface SendOptions {
  body?: object;
  headers?: Record<string, string>;
  /** ms until the request counts as hanging; default 15,000, more than any deadline of a service. */
  timeout?: number;
}

/** Connections are kept alive, and as many are opened as there are requests under way. */
export function createClient(authorize: Authorize = noTokens): HttpClient {
  const agent = new Agent({ keepAlive: true, maxFreeSockets: 256 });
  return {
    async send(method, url, { body, headers = {}, timeout = 15_000 } = {}) {
      const content = body === undefined ? undefined : JSON.stringify(body);
      const credentials = await authorize(method, body);
      return new Promise<Answer>((resolve, reject) => {
        const sent = request(url, {
          method,
          agent,
          headers: {
            ...(content !== undefined && {
              'content-type': 'application/json',
              'content-length': Buffer.byteLength(content),
            }),
            ...credentials,
            ...headers,
          },
        });
        const timer = setTimeout(() => {
          sent.destroy(Object.assign(new Error(`no answer within ${timeout} ms`), { code: 'HANGS' }));
        }, timeout);
        const fail = (error: Error) => {
          clearTimeout(timer);
          reject(Object.assign(error, { fresh: !sent.reusedSocket }));
        };
        sent.on('error', fail);
        sent.on('response', (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', fail);
          response.on('end', () => {
            clearTimeout(timer);
            const text = Buffer.concat(chunks).toString();
            const isJson = /json/.test(response.headers['content-type'] ?? '');
            resolve({
              status: response.statusCode as number,
              headers: response.headers,
              body: isJson ? JSON.parse(text) : text,
            });
          });
        });
        sent.end(content);
      });
    },
    close: () => agent.destroy(),
  };
}

/** Whether an answer is an RFC 9457 problem of this status. */
export const isProblem = ({ status, headers, body }: Answer, wanted: number): boolean =>
  status === wanted &&
  /^application\/problem\+json/.test(headers['content-type'] ?? '') &&
  body.status === wanted &&
  typeof body.title === 'string';
