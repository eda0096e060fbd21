#!/usr/bin/env node
// The command `testkit`:  npx @warren/testkit check --help

import { OPTIONS, parseCommand } from './check/arguments.ts';
import { CheckError } from './check/options.ts';
import { textOf } from './check/report.ts';
import { runCleanups } from './cleanup.ts';

/** Exit codes: the contract is kept; it is broken; the check could not run. */
const [KEPT, BROKEN, FAILED] = [0, 1, 2];

const USAGE = `Usage: testkit check --queue SERVICE.TYPE --sample FILE [options]

Checks from outside whether a service keeps Warren's wire contract, in any language: it talks to RabbitMQ, never to the code of the
service. It publishes events that all their consumers receive: use a broker for tests. Its AMQP user has to be an administrator.

`;

const EXAMPLES = `
Examples:
  testkit check --queue loyalty.order.confirmed --sample order.json --contract @warren/contracts \\
    --effects-event loyalty.points.v1 --start 'AMQP_URL=amqp://loyalty:secret@localhost exec npm start'

  testkit check --queue points.order.confirmed --sample order.json --contract docs/reference/asyncapi.json \\
    --effects-sql 'select count(*) from points where order_id = {data.orderId}' --database postgres://localhost/points

  testkit check --method loyalty.find.v1 --request find.json --contract ./contracts.ts

Exit codes: 0 the contract is kept, 1 it is broken, 2 the check could not run.
`;

const help = (): string =>
  USAGE +
  Object.entries<{ value?: string; help: string }>(OPTIONS)
    .map(([name, { value = '', help }]) => `  ${`--${name} ${value}`.padEnd(26)} ${help}\n`)
    .join('') +
  EXAMPLES;

async function main([command, ...args]: readonly string[]): Promise<number> {
  if (command === undefined || command === '--help' || command === '-h') {
    console.log(help());
    return command === undefined ? FAILED : KEPT;
  }
  if (command !== 'check') throw new CheckError(`there is no command '${command}', only check; see --help`);
  const parsed = parseCommand(args, process.env);
  if (parsed.help) {
    console.log(help());
    return KEPT;
  }
  const onCheck = (name: string) => console.error(`checking ${name} …`);
  const options = await parsed.options();
  const { checkContract } = await import('./check/run.ts');
  const report = await checkContract({ ...options, ...(process.stderr.isTTY && { onCheck }) });
  console.log(parsed.json ? JSON.stringify(report, null, 2) : textOf(report));
  const isIncomplete = report.checks.some(({ verdict }) => verdict === 'not checked');
  return report.kept && !(parsed.strict && isIncomplete) ? KEPT : BROKEN;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error(error instanceof CheckError ? `testkit: ${error.message}` : error);
  process.exitCode = FAILED;
}
await runCleanups();
