// What `make fuzz` is told by its environment: SEED, MINUTES, TARGETS, CASE.

const TARGETS = ['http', 'bodies', 'raw', 'amqp', 'environment'] as const;
export type TargetName = (typeof TARGETS)[number];

export interface Settings {
  seed: number;
  /** Scales the number of cases: about a minute's work on an idle machine with two processors at 1. */
  minutes: number;
  targets: readonly TargetName[];
  /** One case that failed: its test, and its path in the words of fast-check. */
  replay: { test: string; path: string } | undefined;
}

/** Between the name of a test and a path in CASE. */
const AT = ' @ ';

export const settings = readSettings(process.env);

/** The command that runs one failed case again. */
export const replayCommand = (target: TargetName, test: string, path: string): string =>
  `make fuzz SEED=${settings.seed} TARGETS=${target} CASE='${test}${AT}${path}'`;

function readSettings({ SEED, MINUTES, TARGETS: wanted, CASE }: NodeJS.ProcessEnv): Settings {
  const targets = wanted ? wanted.split(',').map((name) => name.trim()) : [...TARGETS];
  const unknown = targets.filter((name) => !TARGETS.some((target) => target === name));
  if (unknown.length > 0)
    throw new Error(`TARGETS has no ${unknown.join(', ')}: the targets are ${TARGETS.join(', ')}.`);
  const at = CASE?.lastIndexOf(AT) ?? -1;
  if (CASE && at < 0) throw new Error(`CASE must be TEST${AT}PATH, as a failure prints it.`);
  return {
    seed: readNumber('SEED', SEED, 20_261_010, /^-?\d{1,10}$/),
    minutes: readNumber('MINUTES', MINUTES, 1, /^\d{1,4}(\.\d{1,3})?$/),
    targets: targets as TargetName[],
    replay: CASE ? { test: CASE.slice(0, at), path: CASE.slice(at + AT.length) } : undefined,
  };
}

function readNumber(name: string, text: string | undefined, fallback: number, form: RegExp): number {
  if (!text) return fallback;
  if (!form.test(text)) throw new Error(`${name} must be a number, not ${text}.`);
  return Number(text);
}
