// The command line of `check`.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type ParseArgsConfig, parseArgs } from 'node:util';
import { CHECK_NAMES, type CheckName } from './names.ts';
import {
  CheckError,
  type CheckOptions,
  DEFAULTS,
  type EffectsOptions,
  type MethodOptions,
} from './options.ts';

interface Option {
  /** What stands for the value in the help; none: the option has no value. */
  value?: string;
  short?: string;
  multiple?: true;
  help: string;
}

/** By their names, in the order of the help. */
export const OPTIONS = {
  queue: { value: 'SERVICE.TYPE', help: 'the work queue of the service, e.g. loyalty.order.confirmed' },
  sample: {
    value: 'FILE',
    help: 'JSON: data of a valid event, or a whole event; every UUID and {uuid} is replaced in each message',
  },
  keep: { value: 'PATH', multiple: true, help: 'a field whose ids stay as they are, e.g. data.userId' },
  contract: {
    value: 'MODULE',
    help: 'a module of @warren/events definitions, or JSON: an AsyncAPI document or a schema of the data',
  },
  broker: { value: 'URL', help: 'AMQP URL of an administrator; default: AMQP_URL' },
  management: { value: 'URL', help: 'default: AMQP_MANAGEMENT_URL, or port 15672 of the same host' },
  'effects-event': {
    value: 'KEY',
    help: 'an effect is this event of the service, e.g. loyalty.points.v1; default: any event that names the cause',
  },
  'effects-sql': {
    value: 'SQL',
    help: 'an effect is counted by a query; $1 is the id of the event, {data.orderId} a field of it',
  },
  database: { value: 'URL', help: 'for --effects-sql; default: DATABASE_URL' },
  'effects-url': {
    value: 'URL',
    help: 'an effect is counted by a GET that returns a number, a list, or {items}; {data.orderId} as above',
  },
  start: { value: 'COMMAND', help: 'starts the service; needed for crash and drain' },
  pid: { value: 'PID', help: 'a service that a supervisor restarts; for crash or for drain' },
  user: { value: 'NAME', help: "broker user of the service; default: that of the queue's consumer" },
  producer: { value: 'NAME', help: 'broker user of the publishing service; default: derived from --user' },
  failing: { value: 'FILE', help: 'JSON: data for which the handler fails; needed for failing' },
  'retry-delays': { value: 'LIST', help: 'the retry ladder, e.g. 1s,10s,1m; default: the delay queues' },
  method: { value: 'NAME.vN', help: 'a method that the service handles; needed for rpc' },
  request: { value: 'FILE', help: 'JSON: a valid request of that method' },
  caller: { value: 'SERVICE', help: `the service that calls it; default: ${DEFAULTS.caller}` },
  grace: { value: 'SECONDS', help: `from SIGTERM to the end; default: ${DEFAULTS.grace / 1_000}` },
  timeout: { value: 'SECONDS', help: `for each fact; default: ${DEFAULTS.timeout / 1_000}` },
  load: { value: 'COUNT', help: `messages during crash and drain; default: ${DEFAULTS.load}` },
  only: { value: 'CHECK', multiple: true, help: `one of ${CHECK_NAMES.join(', ')}` },
  strict: { help: 'exit code 1 also if a check could not run' },
  json: { help: 'print the report as JSON' },
  help: { short: 'h', help: 'show this text' },
} satisfies Record<string, Option>;

export interface Command {
  help: boolean;
  json: boolean;
  strict: boolean;
  /** Reads the files that the options name. @throws {CheckError} */
  options(): Promise<CheckOptions>;
}

type Values = { [Name in keyof typeof OPTIONS]?: string & string[] & boolean };

/** @throws {CheckError} one sentence about the argument that is wrong */
export function parseCommand(args: readonly string[], env: NodeJS.ProcessEnv): Command {
  const config = Object.entries<Option>(OPTIONS).map(([name, { value, short, multiple }]) => [
    name,
    {
      type: value === undefined ? 'boolean' : 'string',
      ...(short && { short }),
      ...(multiple && { multiple }),
    },
  ]);
  let values: Values;
  try {
    values = parseArgs({ args: [...args], options: Object.fromEntries(config) as ParseArgsConfig['options'] })
      .values as Values;
  } catch (cause) {
    throw new CheckError(firstSentence((cause as Error).message), { cause });
  }
  const { help = false, json = false, strict = false } = values;
  return { help, json, strict, options: () => optionsOf(values, env) };
}

const firstSentence = (text: string) => `${text.split(/\.\s/)[0]}; see --help`;

async function optionsOf(values: Values, env: NodeJS.ProcessEnv): Promise<CheckOptions> {
  const only = values.only as CheckName[] | undefined;
  return defined({
    queue: values.queue,
    sample: jsonFile('sample', values.sample),
    failing: jsonFile('failing', values.failing),
    keep: values.keep,
    contract: await contract(values.contract),
    brokerUrl: values.broker,
    managementUrl: values.management,
    effects: effects(values, env),
    start: values.start,
    pid: number('pid', values.pid),
    user: values.user,
    producer: values.producer,
    method: method(values),
    retryDelays: values['retry-delays'],
    grace: seconds('grace', values.grace),
    timeout: seconds('timeout', values.timeout),
    load: number('load', values.load),
    only,
  });
}

const defined = (options: CheckOptions): CheckOptions =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));

function jsonFile(option: string, path: string | undefined): object | undefined {
  if (path === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw new CheckError(`--${option}: cannot read ${path}: ${(cause as Error).message}`, { cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new CheckError(`--${option}: ${path} has to hold a JSON object`);
  return value;
}

/** A JSON file, a file of a module, or a package seen from the current directory. */
async function contract(name: string | undefined): Promise<object | undefined> {
  if (name === undefined || name.endsWith('.json')) return jsonFile('contract', name);
  const isFile = /^[./]/.test(name);
  try {
    const path = isFile ? resolve(name) : createRequire(resolve('package.json')).resolve(name);
    return await import(pathToFileURL(path).href);
  } catch (cause) {
    throw new CheckError(
      `--contract: cannot load ${name} (${(cause as Error).message.split('\n')[0]}); a path begins with ./ or /`,
      { cause },
    );
  }
}

function effects(values: Values, env: NodeJS.ProcessEnv): EffectsOptions | undefined {
  const { 'effects-event': event, 'effects-sql': sql, 'effects-url': url } = values;
  if ([event, sql, url].filter((each) => each !== undefined).length > 1)
    throw new CheckError('give one of --effects-event, --effects-sql and --effects-url');
  if (event !== undefined) return { event };
  if (url !== undefined) return { url };
  if (sql === undefined) return undefined;
  const databaseUrl = values.database ?? env.DATABASE_URL;
  if (databaseUrl === undefined) throw new CheckError('--effects-sql needs --database URL, or DATABASE_URL');
  return { sql, databaseUrl };
}

function method({ method: name, request: file, caller }: Values): MethodOptions | undefined {
  const request = jsonFile('request', file);
  if (name === undefined && request === undefined) return undefined;
  if (name === undefined || request === undefined)
    throw new CheckError('--method and --request belong together');
  return { name, request, ...(caller !== undefined && { caller }) };
}

function number(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[1-9]\d*$/.test(text))
    throw new CheckError(`--${option}: '${text}' has to be a whole number above 0`);
  return Number(text);
}

function seconds(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!(value > 0)) throw new CheckError(`--${option}: '${text}' has to be a number of seconds above 0`);
  return value * 1_000;
}
