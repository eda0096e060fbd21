import { registerCleanup } from '../cleanup.ts';

/** The management HTTP API, as far as the testkit needs it. */
export interface Management {
  /** @throws if the status is neither 2xx nor, for a GET or DELETE, 404 (then the result is undefined). */
  request<T = unknown>(
    method: 'GET' | 'PUT' | 'POST' | 'DELETE',
    path: string,
    body?: object,
  ): Promise<T | undefined>;
  /** Has a vhost or user deleted when this process ends, however it ends. @returns deletes it now */
  deleteLater(path: string): () => Promise<void>;
}

/**
 * @param managementUrl where the API is; credentials in it win over `user` and `password`
 */
export function management(managementUrl: string, user: string, password: string): Management {
  const base = new URL(managementUrl);
  const name = decodeURIComponent(base.username) || user;
  const secret = decodeURIComponent(base.password) || password;
  const authorization = `Basic ${Buffer.from(`${name}:${secret}`).toString('base64')}`;
  base.username = '';
  base.password = '';
  const root = base.href.replace(/\/$/, '');

  const request: Management['request'] = async (method, path, body) => {
    let response: Response;
    try {
      response = await fetch(`${root}/api/${path}`, {
        method,
        headers: { authorization, 'content-type': 'application/json' },
        body: body ? JSON.stringify(body) : undefined,
        signal: AbortSignal.timeout(20_000),
      });
    } catch (error) {
      throw new Error(
        `RabbitMQ's management API does not respond at ${root}: enable the plugin rabbitmq_management, or say in AMQP_MANAGEMENT_URL where it is`,
        { cause: error },
      );
    }
    const text = await response.text();
    if (response.status === 404 && (method === 'GET' || method === 'DELETE')) return undefined;
    if (!response.ok) {
      throw new Error(`RabbitMQ refused ${method} ${root}/api/${path} with ${response.status}: ${text}`);
    }
    return text ? JSON.parse(text) : undefined;
  };

  return {
    request,
    deleteLater(path) {
      const release = registerCleanup({ type: 'resource', url: `${root}/api/${path}`, authorization });
      return async () => {
        await request('DELETE', path);
        release();
      };
    },
  };
}

/** The management API of a broker by its two URLs: the credentials are those of `url`. */
export function managementOf({ url, managementUrl }: { url: string; managementUrl: string }): Management {
  const { username, password } = new URL(url);
  return management(
    managementUrl,
    decodeURIComponent(username) || 'guest',
    decodeURIComponent(password) || 'guest',
  );
}
