// No file imports itself through others, types included: of two files that need each other, neither is read first.
import { targetOf } from './check-floors.ts';
import { specifiers } from './check-imports.ts';
import { directories, files } from './tree.ts';

const ADVICE = 'move what they share into a file that both import';
/** Made by Prisma, with circles. */
const GENERATED = /\/prisma-client\//;

export function checkCircles(): string[] {
  const imports = new Map(
    [...directories(), 'scripts']
      .flatMap((directory) => files(`${directory}/**/*.{ts,mts,cts,js,mjs,cjs}`))
      .filter((file) => !GENERATED.test(file))
      .map((file) => [file, importedBy(file)]),
  );
  const found: string[] = [];
  const done = new Set<string>();
  const visit = (file: string, path: string[]): void => {
    const at = path.indexOf(file);
    if (at >= 0) found.push(`${[...path.slice(at), file].join(' → ')} is a circle: ${ADVICE}`);
    if (at >= 0 || done.has(file)) return;
    for (const next of imports.get(file) ?? []) visit(next, [...path, file]);
    done.add(file);
  };
  for (const file of imports.keys()) visit(file, []);
  return found;
}

const importedBy = (file: string): string[] =>
  specifiers(file)
    .filter(({ specifier }) => specifier.startsWith('.'))
    .map(({ specifier }) => targetOf(file, specifier));
