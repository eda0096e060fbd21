// The environment variables of the chassis and of each service, from their schemas.
import { chassisSchema } from '../../packages/chassis/src/config.ts';
import { Joi, type ServiceDescription } from '../../packages/chassis/src/index.ts';
import { code, codes, table } from './table.ts';

type Variable = Joi.Description & {
  flags?: { default?: unknown; presence?: string; description?: string; only?: boolean };
  metas?: { default?: string; type?: string }[];
  allow?: unknown[];
  rules?: { name: string; args?: { limit?: number } }[];
  whens?: { ref?: { path: string[] } }[];
};
type Variables = Record<string, Variable>;

const HEAD = ['variable', 'value', 'default', ''];

export function configurationTables(services: readonly ServiceDescription[]): Record<string, string> {
  const chassis = variablesOf(chassisSchema({ database: true, broker: true }));
  const own = services.map(({ name, config = {} }) => [name, variablesOf(config as Joi.SchemaMap)] as const);
  const rowsOf = (variables: Variables) =>
    Object.entries(variables).map(([name, variable]) => [
      code(name),
      allowedOf(variable),
      chassis[name] === variable ? defaultsOf(name, variable, own) : defaultOf(variable),
      describe(name, variable),
    ]);
  const part = (wanted: (name: string) => boolean, variables: Variables) =>
    table(HEAD, rowsOf(Object.fromEntries(Object.entries(variables).filter(([name]) => wanted(name)))));
  const isOfAuth = (name: string) => /^AUTH(_|$)/.test(name);
  return {
    'config-chassis': part((name) => !isOfAuth(name), chassis),
    'config-auth': part(isOfAuth, chassis),
    ...Object.fromEntries(
      own
        .filter(([, variables]) => Object.keys(variables).some((name) => !(name in chassis)))
        .map(([service, variables]) => [`config-${service}`, part((name) => !(name in chassis), variables)]),
    ),
  };
}

const variablesOf = (schema: Joi.SchemaMap): Variables => Joi.object(schema).describe().keys as Variables;

function describe(name: string, { flags }: Variable): string {
  if (flags?.description === undefined)
    throw new Error(`${name} has no description: add .description('…') to its schema in config.ts.`);
  return flags.description;
}

/** What the variable may hold. */
function allowedOf({ type, flags, allow = [], rules = [], metas = [] }: Variable): string {
  const named = metas.find((meta) => meta.type !== undefined)?.type;
  if (named !== undefined) return named;
  if (flags?.only) return codes(allow.map(String));
  const limit = (name: string) => rules.find((rule) => rule.name === name)?.args?.limit;
  const [min, max] = [limit('min'), limit('max')];
  if (type === 'number' && min !== undefined && max !== undefined) return `${min} to ${max}`;
  const names: Record<string, string> = { bytes: 'size', delays: 'durations', any: 'text', string: 'text' };
  return names[type as string] ?? String(type);
}

/** The default of the chassis, and those of the services that have another. */
function defaultsOf(name: string, variable: Variable, own: (readonly [string, Variables])[]): string {
  const others = own.flatMap(([service, variables]) =>
    variables[name] ? [`${service} ${defaultOf(variables[name])}`] : [],
  );
  return others.length === own.length ? others.join(', ') : [defaultOf(variable), ...others].join('; ');
}

function defaultOf({ type, flags, metas = [], whens = [] }: Variable): string {
  const written = metas.find((meta) => meta.default !== undefined)?.default;
  if (written !== undefined) return /\s/.test(written) ? written : code(written);
  if (flags?.presence === 'required') return 'required';
  const [condition] = whens.flatMap(({ ref }) => ref?.path ?? []);
  if (condition !== undefined) return `required with ${code(condition)}`;
  const value = flags?.default;
  if (value === undefined || (Array.isArray(value) && value.length === 0)) return '';
  if (type === 'duration') return code(inUnits(value as number, DURATIONS));
  if (type === 'bytes') return code(inUnits(value as number, SIZES));
  if (Array.isArray(value)) return code(value.map(({ name }) => name).join(','));
  return code(String(value));
}

const DURATIONS: [string, number][] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
  ['ms', 1],
];
const SIZES: [string, number][] = [
  ['mb', 1024 ** 2],
  ['kb', 1024],
  ['b', 1],
];

/** In the largest unit that leaves no remainder; a single day is `24h`. */
function inUnits(value: number, units: [string, number][]): string {
  const [unit, size] = (units.find(([name, each]) => value % each === 0 && (name !== 'd' || value > each)) ??
    units.at(-1)) as [string, number];
  return value === 0 ? '0s' : `${value / size}${unit}`;
}
