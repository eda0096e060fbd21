// One document for the whole: what the services say of themselves, and what the gateway answers itself.
import { combineApis, type OpenApiDocument } from '@warren/chassis';
import { type GatewayConfig, upstreamsOf } from './config.ts';
import { destinationOf } from './paths.ts';

/** ms a document is kept: long enough for a page that loads, short enough to see a deploy. */
const KEPT = 5_000;
/** ms a service may take to describe itself. */
const PATIENCE = 2_000;

interface Kept {
  at: number;
  document: Promise<OpenApiDocument>;
}

const kept = new WeakMap<GatewayConfig, Kept>();

/** The document of the whole; the services that are away are missing in it, and its description names them. */
export function wholeApi(config: GatewayConfig, own: () => OpenApiDocument): Promise<OpenApiDocument> {
  const last = kept.get(config);
  if (last !== undefined && performance.now() - last.at < KEPT) return last.document;
  const document = collect(config, own());
  kept.set(config, { at: performance.now(), document });
  return document;
}

async function collect(config: GatewayConfig, own: OpenApiDocument): Promise<OpenApiDocument> {
  const upstreams = Object.entries(upstreamsOf(config));
  const documents = await Promise.all(upstreams.map(([name, origin]) => documentOf(name, origin)));
  const away = upstreams.map(([name]) => name).filter((_name, at) => documents[at] === undefined);
  const whole = combineApis([...documents.filter((document) => document !== undefined), own], {
    title: 'Warren',
    version: own.info.version,
    ...(own.info.description !== undefined && { description: own.info.description }),
  });
  if (away.length === 0) return whole;
  const notice = `**These services are unavailable, so their routes are missing here:** ${away.join(', ')}.`;
  return { ...whole, info: { ...whole.info, description: `${notice}\n\n${whole.info.description}` } };
}

/** Of one service, the paths that lead to it from here; undefined when it does not answer with a document. */
async function documentOf(name: string, origin: string): Promise<OpenApiDocument | undefined> {
  try {
    const response = await fetch(`${origin}/openapi.json`, {
      signal: AbortSignal.timeout(PATIENCE),
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
