// Writes what each package exports, with signatures, into docs/reference/api:  node scripts/api.ts [--check]
// A change of the public surface changes these files, so that review sees it.
import { join } from 'node:path';
import { reportOf } from './api/report.ts';
import { writeDocuments } from './generated.ts';
import { type Built, withBuilt } from './pack.ts';

if (import.meta.main) await withBuilt((built) => writeDocuments(apiReports(built)));

/** The reports by path from the root. */
export function apiReports(built: readonly Built[]): Map<string, string> {
  return new Map(
    built.map((one) => [
      join('docs/reference/api', `${one.directory.replace('packages/', '')}.md`),
      reportOf(one),
    ]),
  );
}
