// Writes docs/reference/asyncapi.json from every broker.ts and the contracts: which service publishes and consumes which
// event, and which one handles which method. With --check it only reports whether the file differs. In both cases it reports
// where the document violates the standard.
import { Parser } from '@asyncapi/parser';
import { asyncApiOf } from './asyncapi/document.ts';
import { brokerConfigs } from './brokers.ts';
import { writeDocuments } from './generated.ts';
import { read } from './tree.ts';

const file = 'docs/reference/asyncapi.json';
const WARNING = 1;

const { version } = JSON.parse(read('package.json')) as { version: string };
const document = asyncApiOf(await brokerConfigs(), version);
await writeDocuments(new Map([[file, document]]));

const found = await new Parser().validate(JSON.stringify(document));
for (const { severity, path, message } of found) {
  if (severity > WARNING) continue;
  console.error(`${file}: ${path.join('.')}: ${message}`);
  process.exitCode = 1;
}
