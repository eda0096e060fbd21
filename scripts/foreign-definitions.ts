// node scripts/foreign-definitions.ts FILE: prints the definitions of a service that has no broker.ts, from its AsyncAPI document: its
// user with its permissions, and the exchanges of the platform. `rabbitmqctl import_definitions` adds them to those that exist.
import { readFileSync } from 'node:fs';
import { foreignDefinitions } from './asyncapi/foreign.ts';

const [file] = process.argv.slice(2);
try {
  if (file === undefined) throw new Error('name the AsyncAPI document of a service');
  const definitions = foreignDefinitions(JSON.parse(readFileSync(file, 'utf8')));
  console.log(JSON.stringify({ vhosts: [{ name: '/' }], ...definitions }, null, 2));
} catch (error) {
  console.error(`${file ?? 'foreign-definitions.ts'}: ${(error as Error).message}`);
  process.exitCode = 2;
}
