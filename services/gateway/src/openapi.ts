// Combines the OpenAPI documents of the services with the gateway's own.
import { combineApis, type OpenApiDocument } from '@warren/chassis';
import { type GatewayConfig, upstreamsOf } from './config.ts';
import { destinationOf } from './paths.ts';

/** How long the document is cached: long enough for loading a page, short enough to show a deployment soon. */
const CACHE_MS = 5_000;
/** Time limit of a request to a service. */
const REQUEST_TIMEOUT_MS = 2_000;

interface Kept {
  at: number;
  document: Promise<OpenApiDocument>;
}

const kept = new WeakMap<GatewayConfig, Kept>();

/** The combined document. Its description lists the services that are unavailable. */
export function wholeApi(config: GatewayConfig, own: () => OpenApiDocument): Promise<OpenApiDocument> {
  const last = kept.get(config);
  if (last !== undefined && performance.now() - last.at < CACHE_MS) return last.document;
  const document = collect(config, own());
  kept.set(config, { at: performance.now(), document });
  return document;
}

async function collect(config: GatewayConfig, own: OpenApiDocument): Promise<OpenApiDocument> {
  const upstreams = Object.entries(upstreamsOf(config));
  const documents = await Promise.all(upstreams.map(([name, origin]) => documentOf(name, origin)));
  const unavailable = upstreams.map(([name]) => name).filter((_name, at) => documents[at] === undefined);
  const whole = combineApis([...documents.filter((document) => document !== undefined), own], {
    title: 'Warren',
    version: own.info.version,
    ...(own.info.description !== undefined && { description: own.info.description }),
  });
  if (unavailable.length === 0) return whole;
  const notice = `**These services are unavailable, so their routes are missing here:** ${unavailable.join(', ')}.`;
  return { ...whole, info: { ...whole.info, description: `${notice}\n\n${whole.info.description}` } };
}

/** The document of one service, with the paths that the gateway forwards to it; undefined when it is unavailable. */
async function documentOf(name: string, origin: string): Promise<OpenApiDocument | undefined> {
  try {
    const response = await fetch(`${origin}/openapi.json`, {
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
      redirect: 'error',
    });
    if (!response.ok) return undefined;
    const document = (await response.json()) as OpenApiDocument;
    const paths = Object.entries(document.paths).filter(([path]) => destinationOf(path)?.upstream === name);
    return { ...document, paths: Object.fromEntries(paths) };
  } catch {
    return undefined;
  }
}
