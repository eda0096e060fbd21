// Combines the documents of several services into one.
import { DESCRIPTION, OPENAPI, type OpenApiDocument } from './document.ts';
import { freeName, pascal, same, sorted, unique } from './names.ts';

/**
 * Equal components of one name are merged; different components of one name are renamed, and so are repeated operation ids. If two
 * documents have the same path and method, the first one wins.
 */
export function combineApis(
  documents: readonly OpenApiDocument[],
  { title, version, description = DESCRIPTION }: { title: string; version: string; description?: string },
): OpenApiDocument {
  const components: Record<string, Record<string, object>> = {};
  const paths: OpenApiDocument['paths'] = {};
  const tags = new Map<string, { name: string; description?: string }>();
  const ids = new Set<string>();

  for (const document of documents) {
    const prefix = pascal(document.info.title);
    const { components: own, paths: mine } = withoutClashes(document, components, prefix);
    for (const [kind, parts] of Object.entries(own)) components[kind] = { ...components[kind], ...parts };
    for (const tag of document.tags ?? []) if (!tags.has(tag.name)) tags.set(tag.name, tag);
    for (const [path, operations] of Object.entries(mine)) {
      paths[path] ??= {};
      for (const [method, operation] of Object.entries(operations)) {
        if (paths[path][method] !== undefined) continue;
        const { operationId } = operation;
        const id =
          operationId === undefined || !ids.has(operationId) ? operationId : `${operationId}Of${prefix}`;
        paths[path][method] = id === undefined ? operation : { ...operation, operationId: unique(id, ids) };
      }
    }
  }
  return {
    openapi: OPENAPI,
    info: { title, version, description },
    servers: [{ url: '/' }],
    security: [],
    tags: [...tags.values()],
    paths,
    components: Object.fromEntries(Object.entries(components).map(([kind, parts]) => [kind, sorted(parts)])),
  };
}

/** The document, with components renamed whose name another component already has. */
function withoutClashes(
  { components = {}, paths = {} }: OpenApiDocument,
  taken: Record<string, Record<string, object>>,
  prefix: string,
): Required<Pick<OpenApiDocument, 'components' | 'paths'>> {
  const renamed = new Map<string, string>();
  const rename = <T>(value: T): T =>
    JSON.parse(JSON.stringify(value), (key, inner) =>
      key === '$ref' ? (renamed.get(inner) ?? inner) : inner,
    );
  // A component that refers to a renamed one also differs from its namesake: repeat until nothing changes.
  for (let before = -1; before < renamed.size; ) {
    before = renamed.size;
    for (const [kind, parts] of Object.entries(components))
      for (const [name, part] of Object.entries(parts)) {
        const ref = `#/components/${kind}/${name}`;
        const there = taken[kind]?.[name];
        if (renamed.has(ref) || there === undefined || same(there, rename(part))) continue;
        const free = freeName(
          `${prefix}${name}`,
          (each) => taken[kind]?.[each] === undefined && parts[each] === undefined,
        );
        renamed.set(ref, `#/components/${kind}/${free}`);
      }
  }
  const nameNow = (kind: string, name: string) =>
    renamed.get(`#/components/${kind}/${name}`)?.slice(`#/components/${kind}/`.length) ?? name;
  return {
    paths: rename(paths),
    components: Object.fromEntries(
      Object.entries(components).map(([kind, parts]) => [
        kind,
        Object.fromEntries(Object.entries(parts).map(([name, part]) => [nameNow(kind, name), rename(part)])),
      ]),
    ),
  };
}
