// One HTTP request on its own connection, with any path, headers and bytes.
import { type IncomingHttpHeaders, request } from 'node:http';

/** ms after which an answer counts as missing: above every deadline of the services. */
const ANSWER_MS = 60_000;

export interface Sent {
  method: string;
  /** Path and query, as they go out. */
  path: string;
  headers?: Record<string, string | string[]>;
  body?: Buffer;
  /** Bytes a chunk; without it, the body goes out whole, with its length. */
  chunk?: number;
  /** Bytes of the body after which the client closes its connection. */
  leaveAfter?: number;
}

export interface Received {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
}

/** The answer; undefined when the client has left. @throws {Error} when there is none */
export function send(
  origin: string,
  { method, path, headers = {}, body, chunk, leaveAfter }: Sent,
): Promise<Received | undefined> {
  const { hostname, port } = new URL(origin);
  return new Promise((resolve, reject) => {
    const outgoing = request({ hostname, port, method, path, headers, agent: false });
    const timer = setTimeout(
      () => outgoing.destroy(new Error(`no answer within ${ANSWER_MS} ms`)),
      ANSWER_MS,
    );
    const settle = (work: () => void) => {
      clearTimeout(timer);
      work();
    };
    let left = false;
    outgoing.on('error', (error) =>
      settle(() =>
        left ? resolve(undefined) : reject(new Error(`${method} ${path.slice(0, 200)}: ${error.message}`)),
      ),
    );
    outgoing.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (data: Buffer) => chunks.push(data));
      response.on('error', (error) => settle(() => (left ? resolve(undefined) : reject(error))));
      response.on('end', () =>
        settle(() =>
          resolve({
            status: response.statusCode as number,
            headers: response.headers,
            text: Buffer.concat(chunks).toString(),
          }),
        ),
      );
    });
    if (body === undefined) return void outgoing.end();
    if (leaveAfter !== undefined) {
      if (chunk === undefined) outgoing.setHeader('content-length', body.length);
      outgoing.write(body.subarray(0, leaveAfter), () => {
        left = true;
        outgoing.destroy();
        settle(() => resolve(undefined));
      });
      return;
    }
    if (chunk === undefined) return void outgoing.end(body);
    for (let at = 0; at < body.length; at += chunk) outgoing.write(body.subarray(at, at + chunk));
    outgoing.end();
  });
}
