// Writes the tables of docs/reference that repeat the code: errors, configuration, metrics, the objects on the broker. Each
// stands in its page between `<!-- generated: NAME -->` and `<!-- /generated -->`; the rest of the page is written by hand.
// With --check it only says which page differs.
import { brokerConfigs } from './brokers.ts';
import { writeDocuments } from './generated.ts';
import { brokerTables } from './reference/broker.ts';
import { configurationTables } from './reference/configuration.ts';
import { contractKitTables } from './reference/contract-kit.ts';
import { codeFaults, errorTables } from './reference/errors.ts';
import { metricTables } from './reference/metrics.ts';
import { serviceDescriptions } from './services.ts';
import { read } from './tree.ts';

const services = await serviceDescriptions();
const pages = {
  errors: errorTables(),
  configuration: configurationTables(services),
  metrics: metricTables(services),
  broker: brokerTables(await brokerConfigs()),
  'contract-kit': contractKitTables(),
};

const documents = new Map(
  Object.entries(pages).map(([page, tables]) => {
    const file = `docs/reference/${page}.md`;
    return [file, withTables(file, tables)];
  }),
);
await writeDocuments(documents);
fail(codeFaults(documents.get('docs/reference/errors.md') as string));

/** The page with each of its tables written anew. */
function withTables(file: string, tables: Record<string, string>): string {
  const missing = new Set(Object.keys(tables));
  const page = read(file).replace(
    /(<!-- generated: ([\w-]+) -->\n)[\s\S]*?(<!-- \/generated -->)/g,
    (_, begin: string, name: string, end: string) => {
      if (tables[name] === undefined) fail([`${file}: nothing generates the table ${name}`]);
      missing.delete(name);
      return `${begin}${tables[name]}\n${end}`;
    },
  );
  fail(
    [...missing].map((name) => `${file} has no place for the table ${name}: add <!-- generated: ${name} -->`),
  );
  return page;
}

function fail(faults: string[]): void {
  for (const fault of faults) console.error(fault);
  if (faults.length > 0) process.exitCode = 1;
}
