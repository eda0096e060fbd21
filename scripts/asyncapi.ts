// Writes what the services say to each other over the broker, as AsyncAPI, into docs/reference: who publishes and hears which
// event, and who answers which method, from every broker.ts and the contracts. With --check it only says whether the file is
// what they say today. Either way it says where the document does not keep to the standard.
import { Parser } from '@asyncapi/parser';
import { asyncApiOf } from './asyncapi/document.ts';
import { brokerConfigs } from './brokers.ts';
import { settle } from './generated.ts';
import { read } from './tree.ts';

const file = 'docs/reference/asyncapi.json';
const WARNING = 1;

const { version } = JSON.parse(read('package.json')) as { version: string };
const document = asyncApiOf(await brokerConfigs(), version);
await settle(new Map([[file, document]]));

const found = await new Parser().validate(JSON.stringify(document));
for (const { severity, path, message } of found) {
  if (severity > WARNING) continue;
  console.error(`${file}: ${path.join('.')}: ${message}`);
  process.exitCode = 1;
}
