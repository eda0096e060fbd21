/** What a {@link client} got. */
export interface ClientResponse {
  status: number;
  headers: Headers;
  text: string;
  /** Of JSON. A test says by its expectations what it holds. */
  // biome-ignore lint/suspicious/noExplicitAny: a test reads fields that it is about to check
  body: any;
}

export interface Client {
  get(path: string): Promise<ClientResponse>;
  post(path: string, body: object, headers?: Record<string, string>): Promise<ClientResponse>;
  delete(path: string): Promise<ClientResponse>;
}

/**
 * A JSON client that says what it got: status, headers, text, and the body where it is JSON.
 *
 * @example
 * const { post } = client(user.url);
 * expect((await post('/users', { name: 'Ada', email: 'ada@example.com' })).status).to.equal(201);
 */
export function client(url: string): Client {
  const ask = async (
    method: string,
    path: string,
    body?: object,
    headers: Record<string, string> = {},
  ): Promise<ClientResponse> => {
    const response = await fetch(new URL(path, url), {
      method,
      headers: { ...(body && { 'content-type': 'application/json' }), ...headers },
      ...(body && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const json = /json/.test(response.headers.get('content-type') ?? '');
    return {
      status: response.status,
      headers: response.headers,
      text,
      body: json ? JSON.parse(text) : undefined,
    };
  };
  return {
    get: (path) => ask('GET', path),
    post: (path, body, headers) => ask('POST', path, body, headers),
    delete: (path) => ask('DELETE', path),
  };
}
