// /docs: Swagger UI for /openapi.json, without any external resource.
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { type Asset, createAsset, ENCODERS, type Page } from '@warren/edge';

const require = createRequire(import.meta.url);
const manifest = require.resolve('swagger-ui-dist/package.json');
const { version } = require(manifest) as { version: string };

/** The path contains the version, so its files never change. */
const ASSETS = `/docs/${version}`;
const TYPES = {
  'swagger-ui.css': 'text/css; charset=utf-8',
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
  'favicon-32x32.png': 'image/png',
};

/** By name. A file is read and compressed once, at its first request. */
const FILES: ReadonlyMap<string, { type: string; asset: Asset }> = new Map(
  Object.entries(TYPES).map(([name, type]) => [
    name,
    {
      type,
      asset: createAsset(
        () => readFile(join(dirname(manifest), name)),
        type.startsWith('text/') ? ENCODERS : {},
      ),
    },
  ]),
);

const PAGE = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Warren: the API</title>
    <link rel="stylesheet" href="${ASSETS}/swagger-ui.css">
    <link rel="stylesheet" href="/docs/page.css">
    <link rel="icon" type="image/png" href="${ASSETS}/favicon-32x32.png">
  </head>
  <body>
    <div id="api"></div>
    <script src="${ASSETS}/swagger-ui-bundle.js"></script>
    <script src="/docs/page.js"></script>
  </body>
</html>
`;

const SCRIPT = `SwaggerUIBundle({
  url: '/openapi.json',
  dom_id: '#api',
  deepLinking: true,
  docExpansion: 'list',
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  validatorUrl: null,
});
`;

const STYLE = `body { margin: 0; }
.swagger-ui .schemes-server-container { display: none; }
.swagger-ui .info { margin: 32px 0 16px; }
`;

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const TEXTS = new Map([
  ['/docs', { type: 'text/html; charset=utf-8', text: PAGE }],
  ['/docs/', { type: 'text/html; charset=utf-8', text: PAGE }],
  ['/docs/page.js', { type: 'text/javascript; charset=utf-8', text: SCRIPT }],
  ['/docs/page.css', { type: 'text/css; charset=utf-8', text: STYLE }],
]);

/** The page at this path; undefined if there is none. */
export function docsPage(path: string): Page | undefined {
  const text = TEXTS.get(path);
  if (text !== undefined)
    return async (_request, response, { draining }) => {
      response.writeHead(200, {
        ...headersOf(text.type, draining),
        'cache-control': 'no-cache',
        'content-length': Buffer.byteLength(text.text),
      });
      response.end(text.text);
    };
  if (!path.startsWith(`${ASSETS}/`)) return undefined;
  const file = FILES.get(path.slice(ASSETS.length + 1));
  return (
    file &&
    ((request, response, { draining }) =>
      file.asset.send(request, response, {
        ...headersOf(file.type, draining),
        'cache-control': 'public, max-age=31536000, immutable',
      }))
  );
}

const headersOf = (type: string, draining: boolean) => ({
  'content-type': type,
  'content-security-policy': POLICY,
  ...(draining && { connection: 'close' }),
});
