import helmet from 'koa-helmet';

/** Helmet's headers. They are the same for every response, so its middleware runs once. */
export function securityHeaders(): Record<string, string> {
  const headers: Record<string, string> = {};
  const response = {
    setHeader(name: string, value: string) {
      headers[name] = value;
    },
    removeHeader: () => {},
  };
  const middleware = helmet({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: { 'default-src': ["'none'"], 'frame-ancestors': ["'none'"] },
    },
  });
  const ctx = { req: {}, request: {}, res: response } as unknown as Parameters<typeof middleware>[0];
  void middleware(ctx, async () => {});
  return headers;
}
