/**
 * A JSON client that says what it got: status, headers, text, and the body where it is JSON.
 *
 * @example
 * const { post } = client(user.url);
 * expect((await post('/users', { name: 'Ada', email: 'ada@example.com' })).status).to.equal(201);
 */
export function client(url: string) {
  const ask = async (method: string, path: string, body?: object, headers: Record<string, string> = {}) => {
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
    get: (path: string) => ask('GET', path),
    post: (path: string, body: object, headers?: Record<string, string>) => ask('POST', path, body, headers),
    delete: (path: string) => ask('DELETE', path),
  };
}
