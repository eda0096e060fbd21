// Releases a package, a service or a chart:  node scripts/release.ts NAME|TAG [--check | --dry-run] [--without-attestations]
//   no NAME      lists everything that is released, with its version and tag
//   --check      compares versions, tag and changelog, and says what it is: kind=service name=order version=0.1.0
//   --dry-run    checks and builds, and publishes nothing
// Publishing needs the registry's login, and for a service IMAGE_REGISTRY, for a chart CHART_REGISTRY; docs/how-to/release.md.
import { parseArgs } from 'node:util';
import { faultsOf, unreleased } from './release/faults.ts';
import { findUnit, type Unit, units } from './release/units.ts';

try {
  await main();
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = 1;
}

async function main(): Promise<void> {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      check: { type: 'boolean', default: false },
      'dry-run': { type: 'boolean', default: false },
      'without-attestations': { type: 'boolean', default: false },
    },
  });
  const [name, ...more] = positionals;
  if (name === undefined) return list();
  if (more.length > 0)
    throw new Error(`one name at a time: ${name} and ${more.join(', ')} are released apart`);
  const unit = findUnit(name);
  check(unit);
  if (values.check) return;
  // Not at the top: `--check` runs before the dependencies are installed.
  const { publish } = await import('./release/publish.ts');
  await publish(unit, { dryRun: values['dry-run'], attestations: !values['without-attestations'] });
}

function list(): void {
  for (const { kind, name, directory, version, tag } of units())
    console.log([kind.padEnd(8), name.padEnd(17), version.padEnd(8), directory.padEnd(20), tag].join(''));
}

/** @throws {Error} with everything that does not fit */
function check(unit: Unit): void {
  const faults = [...faultsOf(unit), ...unreleased(unit)];
  if (faults.length > 0) throw new Error(faults.join('\n'));
  console.log(`kind=${unit.kind}\nname=${unit.name}\nversion=${unit.version}`);
}
