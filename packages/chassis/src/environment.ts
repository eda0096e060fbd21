// Environment variables: which belong to the service, their values from files, and names that are probably misspelt.
import { existsSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { distance } from 'fastest-levenshtein';

export type Environment = Record<string, string | undefined>;

const FILE = '_FILE';

export interface Given {
  values: Record<string, string>;
  /** The file of each variable that was read from one. */
  files: Map<string, string>;
  mistakes: Map<string, string>;
}

/** The values of these variables; `NAME_FILE` names a file that holds the value of `NAME`. */
export function collect(names: string[], env: Environment): Given {
  const given: Given = { values: {}, files: new Map(), mistakes: new Map() };
  for (const name of names) {
    const direct = isLinkedPort(name, env) ? undefined : env[name] || undefined;
    const file = names.includes(name + FILE) ? undefined : env[name + FILE] || undefined;
    if (direct !== undefined) given.values[name] = direct;
    if (file === undefined) continue;
    if (direct !== undefined) {
      given.mistakes.set(name, `is set together with ${name + FILE}; set only one of them`);
      continue;
    }
    try {
      const content = readFileSync(file, 'utf8').replace(/\r?\n$/, '');
      given.files.set(name, file);
      if (content === '') given.mistakes.set(name, `the file ${file} of ${name + FILE} is empty`);
      else given.values[name] = content;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const reason = code === 'ENOENT' ? 'does not exist' : `cannot be read (${code})`;
      given.mistakes.set(
        name,
        `${isPath(file) ? `the file ${file} of` : 'the file of'} ${name + FILE} ${reason}`,
      );
    }
  }
  return given;
}

/** `NAME_FILE` often holds the secret itself by mistake, so only an existing path is printed. */
const isPath = (text: string): boolean => dirname(text).length > 1 && existsSync(dirname(text));

// Set by systems, shells and runtimes. Some differ by a letter or two from a likely name of a service's variable.
const WELL_KNOWN = new Set(
  `CI COLUMNS DEBUG DISPLAY EDITOR HOME HOST HOSTNAME HOSTTYPE IFS LANG LANGUAGE LINES LOGNAME MACHTYPE MAIL MANPATH
  OLDPWD OSTYPE PAGER PATH POST PWD RANDOM SECONDS SHELL SHLVL TEMP TERM TMP TMPDIR TZ UID USER USERNAME VISUAL
  NODE_ENV NODE_OPTIONS NODE_PATH HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY INIT_CWD INVOCATION_ID
  AMQP_MANAGEMENT_URL`.split(/\s+/),
);
const FOREIGN =
  /^(_|npm_|KUBERNETES_|LC_|XDG_|SSH_|GPG_|GIT_|GITHUB_|PG[A-Z]+$|DOCKER_|YARN_|NVM_|SYSTEMD_)/i;

/** Names that are not known but almost: each with the known name that it probably means. */
export function findNearMisses(names: string[], env: Environment): Map<string, string> {
  const known = new Set(names.flatMap((name) => [name, name + FILE]));
  const misses = new Map<string, string>();
  for (const [name, value] of Object.entries(env)) {
    if (!value || known.has(name) || WELL_KNOWN.has(name.toUpperCase()) || FOREIGN.test(name)) continue;
    if (isServiceLink(name, env)) continue;
    const [meant] = [...known]
      .filter((candidate) => isNearMiss(name, candidate))
      .sort((a, b) => distance(name, a) - distance(name, b));
    if (meant !== undefined) misses.set(name, meant);
  }
  return misses;
}

/**
 * Whether a name is probably a misspelling of a known one: two edits, or fewer if the known name is short.
 * Words that share less than half of their letters are different words: SESSION_URL does not mean SESSION_TTL, nor HOST PORT.
 */
export function isNearMiss(name: string, known: string): boolean {
  const [given, wanted] = [name.toUpperCase(), known.toUpperCase()];
  const edits = editsBetween(given, wanted);
  if (edits === 0) return name !== known;
  const { length } = wanted.replace(/_FILE$/, '');
  if (length <= 4) return edits === 1 && given.length === wanted.length && isSwap(given, wanted);
  if (edits > (length <= 7 ? 1 : 2)) return false;
  const [ours, theirs] = [given.split('_'), wanted.split('_')];
  if (ours.length !== theirs.length) return true;
  return ours.every((word, at) => {
    const other = theirs[at] as string;
    return word === other || 2 * editsBetween(word, other) < Math.max(word.length, other.length);
  });
}

/** Levenshtein distance, where two swapped letters are one edit. */
function editsBetween(a: string, b: string): number {
  const edits = distance(a, b);
  return edits === 2 && isSwap(a, b) ? 1 : edits;
}

function isSwap(a: string, b: string): boolean {
  const at = [...a].findIndex((letter, index) => letter !== b[index]);
  return (
    a.length === b.length &&
    at >= 0 &&
    a.slice(0, at) + a.charAt(at + 1) + a.charAt(at) + a.slice(at + 2) === b
  );
}

/**
 * Variables that Kubernetes (and Docker links) inject for a service called e.g. `user`: USER_SERVICE_HOST, USER_PORT=tcp://…,
 * USER_PORT_80_TCP_ADDR. One of them can have the name of a variable of ours, and must be ignored.
 * https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
 */
function isServiceLink(name: string, env: Environment): boolean {
  if (/_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$/.test(name)) return true;
  if (/_SERVICE_(HOST|PORT)$/.test(name) || /_SERVICE_PORT_[A-Z\d_]+$/.test(name)) return true;
  return isLinkedPort(name, env);
}

function isLinkedPort(name: string, env: Environment): boolean {
  return name.endsWith('_PORT') && /^(tcp|udp|sctp):\/\//.test(env[name] ?? '');
}
