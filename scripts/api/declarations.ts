// Reads declaration files: which names a module exports, where each is declared, and which other types its declaration names.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseSync } from 'oxc-parser';

/** A declaration of this package, or a name of another package (`from`) that is exported on. */
export interface Declared {
  name: string;
  /** Without comments and `export declare`. Empty for a name of another package. */
  text: string;
  /** Another package. */
  from?: string;
  /** The file of the declaration. */
  file: string;
  nodes: Node[];
}

interface Node {
  type: string;
  start: number;
  end: number;
  [key: string]: unknown;
}

interface Binding {
  source: string;
  /** `*` is the namespace. */
  name: string;
}

interface Module {
  file: string;
  source: string;
  comments: { start: number; end: number }[];
  declared: Map<string, Node[]>;
  imported: Map<string, Binding>;
  /** By exported name: a local name, or one of another module. */
  exported: Map<string, string | Binding>;
  stars: string[];
}

export class Declarations {
  readonly #modules = new Map<string, Module>();

  /** Everything that a module exports, by exported name. */
  exportsOf(file: string): Map<string, Declared> {
    const module = this.#module(file);
    const found = new Map<string, Declared>();
    for (const star of module.stars) {
      if (!star.startsWith('.')) found.set(`* of ${star}`, external(file, '*', star));
      else for (const [name, declared] of this.exportsOf(sibling(file, star))) found.set(name, declared);
    }
    for (const [name, target] of module.exported) found.set(name, this.#follow(module, target));
    return found;
  }

  /** The declarations of this package that the given ones name, directly or through others, and that are not among them. */
  namedBy(declared: readonly Declared[]): Declared[] {
    const seen = new Set(declared.map(key));
    const found: Declared[] = [];
    const queue = [...declared];
    for (let next = queue.shift(); next; next = queue.shift()) {
      for (const named of this.#namedIn(next)) {
        if (seen.has(key(named))) continue;
        seen.add(key(named));
        found.push(named);
        queue.push(named);
      }
    }
    return found.sort((a, b) => (a.name + a.text < b.name + b.text ? -1 : 1));
  }

  #namedIn({ file, nodes, from }: Declared): Declared[] {
    if (from !== undefined) return [];
    const module = this.#module(file);
    return [...namesIn(nodes)].flatMap((name) => {
      const found = typeof name === 'string' ? this.#local(module, name) : this.#elsewhere(module, name);
      return found === undefined || found.from !== undefined ? [] : [found];
    });
  }

  #follow(module: Module, target: string | Binding): Declared {
    const found = typeof target === 'string' ? this.#local(module, target) : this.#elsewhere(module, target);
    if (found === undefined) {
      const name = typeof target === 'string' ? target : `${target.name} of ${target.source}`;
      throw new Error(`${module.file} exports ${name}, which is declared nowhere`);
    }
    return found;
  }

  /** What a name means in a module; undefined for a global or a type parameter. */
  #local(module: Module, name: string): Declared | undefined {
    const nodes = module.declared.get(name);
    if (nodes !== undefined) return { name, file: module.file, nodes, text: textOf(module, nodes) };
    const binding = module.imported.get(name);
    return binding === undefined ? undefined : this.#elsewhere(module, binding);
  }

  #elsewhere(module: Module, { source, name }: Binding): Declared | undefined {
    if (!source.startsWith('.')) return external(module.file, name, source);
    return this.exportsOf(sibling(module.file, source)).get(name);
  }

  #module(file: string): Module {
    const known = this.#modules.get(file);
    if (known !== undefined) return known;
    const module = parse(file);
    this.#modules.set(file, module);
    return module;
  }
}

const external = (file: string, name: string, from: string): Declared => ({
  name,
  from,
  file,
  text: '',
  nodes: [],
});

const key = ({ file, name, from }: Declared) => `${from ?? file}#${name}`;

/** `./a.js` beside `index.d.ts` → its `a.d.ts`. */
const sibling = (file: string, source: string) => join(dirname(file), source.replace(/\.js$/, '.d.ts'));

function parse(file: string): Module {
  const source = readFileSync(file, 'utf8');
  const { program, comments } = parseSync(file, source);
  const module: Module = {
    file,
    source,
    comments,
    declared: new Map(),
    imported: new Map(),
    exported: new Map(),
    stars: [],
  };
  for (const statement of program.body as unknown as Node[]) read(module, statement);
  return module;
}

function read(module: Module, statement: Node): void {
  switch (statement.type) {
    case 'ImportDeclaration':
      for (const specifier of statement.specifiers as Node[])
        module.imported.set(nameOf(specifier.local), {
          source: sourceOf(statement.source),
          name:
            specifier.type === 'ImportSpecifier'
              ? nameOf(specifier.imported)
              : specifier.type === 'ImportDefaultSpecifier'
                ? 'default'
                : '*',
        });
      return;
    case 'ExportAllDeclaration':
      if (statement.exported)
        module.exported.set(nameOf(statement.exported), { source: sourceOf(statement.source), name: '*' });
      else module.stars.push(sourceOf(statement.source));
      return;
    case 'ExportNamedDeclaration':
      readExport(module, statement);
      return;
    case 'ExportDefaultDeclaration':
      declare(module, statement.declaration as Node, 'default');
      module.exported.set('default', 'default');
      return;
    default:
      declare(module, statement);
  }
}

function readExport(module: Module, statement: Node): void {
  const declaration = statement.declaration as Node | null;
  if (declaration !== null) {
    for (const name of declare(module, declaration)) module.exported.set(name, name);
    return;
  }
  for (const { local, exported } of statement.specifiers as Node[])
    module.exported.set(
      nameOf(exported),
      statement.source ? { source: sourceOf(statement.source), name: nameOf(local) } : nameOf(local),
    );
}

/** Records the names that a statement declares, and returns them. */
function declare(module: Module, declaration: Node, as?: string): string[] {
  const names =
    declaration.type === 'VariableDeclaration'
      ? (declaration.declarations as Node[]).map(({ id }) => nameOf(id))
      : declaration.id
        ? [as ?? nameOf(declaration.id)]
        : as === undefined
          ? []
          : [as];
  for (const name of names) module.declared.set(name, [...(module.declared.get(name) ?? []), declaration]);
  return names;
}

const nameOf = (node: unknown) => {
  const { name, value } = node as { name?: string; value?: string };
  return String(name ?? value);
};

const sourceOf = (node: unknown) => (node as { value: string }).value;

/** The declaration as the compiler wrote it, without comments, empty lines, and `declare`. */
function textOf({ source, comments }: Module, nodes: readonly Node[]): string {
  return nodes
    .map(({ start, end }) => {
      let text = '';
      let at = start;
      for (const comment of comments) {
        if (comment.start < at || comment.end > end) continue;
        text += source.slice(at, comment.start);
        at = comment.end;
      }
      return (text + source.slice(at, end))
        .replace(/^declare /, '')
        .replace(/[ \t]+$/gm, '')
        .replace(/\n{2,}/g, '\n');
    })
    .join('\n');
}

/** The names of types and values that stand where a type names another one; `import('./a.js').A` as a binding. */
function namesIn(nodes: readonly Node[]): Set<string | Binding> {
  const names = new Set<string | Binding>();
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) {
      value.forEach(visit);
      return;
    }
    if (typeof value !== 'object' || value === null) return;
    const node = value as Node;
    const named = node.typeName ?? node.exprName ?? node.superClass ?? heritage(node);
    if (named) names.add(leftmost(named as Node));
    if (node.type === 'TSImportType' && node.qualifier)
      names.add({ source: sourceOf(node.source), name: leftmost(node.qualifier as Node) });
    if (node.computed === true) names.add(leftmost(node.key as Node));
    for (const child of Object.values(node)) visit(child);
  };
  visit(nodes);
  return names;
}

/** `A` of `interface B extends A` and `class B implements A`. */
const heritage = ({ type, expression }: Node) =>
  type === 'TSInterfaceHeritage' || type === 'TSClassImplements' ? expression : undefined;

/** `A` of `A.B.C`. */
function leftmost(node: Node): string {
  if (node.type === 'TSQualifiedName') return leftmost(node.left as Node);
  if (node.type === 'MemberExpression') return leftmost(node.object as Node);
  return nameOf(node);
}
