// Keeps secrets out of logs, error messages and message headers.

/** Masks passwords in URLs, including invalid ones, and in settings such as libpq's `password=…`. */
export function maskCredentials(text: string): string {
  if (!text.includes('=') && !text.includes('://')) return text;
  return text
    .replace(/(:\/\/[^\s:/?#"'@]{0,128}):[^\s"']{0,512}@/g, '$1:***@')
    .replace(
      /(\b\w{0,32}(?:password|passwd|secret|token)\s{0,8}=\s{0,8})(?:'(?:[^'\\]|\\.){0,512}'|[^\s&"']+)/gi,
      '$1***',
    )
    .replace(/([?&][\w.]{0,32}pass=)[^\s&"']*/gi, '$1***');
}

const SECRET_FIELD = /pass(word|wd)?$|secret|token|authorization|cookie|api[-_]?key|credential/i;
const MASK = '***';

/** Results by field name: log lines repeat a few names. */
const isSecretByName = new Map<string, boolean>();
const MAX_NAMES = 1_000;

function isSecretField(name: string): boolean {
  let isSecret = isSecretByName.get(name);
  if (isSecret === undefined) {
    isSecret = SECRET_FIELD.test(name);
    if (isSecretByName.size < MAX_NAMES) isSecretByName.set(name, isSecret);
  }
  return isSecret;
}

/** @returns a copy with its secrets masked, or the value itself if it has none */
export function maskSecrets(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') return maskCredentials(value);
  if (depth > 4 || typeof value !== 'object' || value === null || value instanceof Error) return value;
  if (Array.isArray(value)) return value.map((one) => maskSecrets(one, depth + 1));
  if (!isPlain(value)) return value;
  let copy: Record<string, unknown> | undefined;
  for (const name of Object.keys(value)) {
    const inner = (value as Record<string, unknown>)[name];
    const masked =
      inner !== undefined && inner !== null && isSecretField(name) ? MASK : maskSecrets(inner, depth + 1);
    if (masked === inner) continue;
    copy ??= { ...value };
    copy[name] = masked;
  }
  return copy ?? value;
}

function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

const MAX_TEXT_CHARS = 10_000;

/** Masks credentials and cuts the text; masks beyond the cut too, because a secret that is cut in half is not recognized. */
export const maskAndCut = (text: string): string =>
  maskCredentials(text.slice(0, MAX_TEXT_CHARS + 1_000)).slice(0, MAX_TEXT_CHARS);

/** Names of environment variables that hold secrets. */
const SECRET_VARIABLE =
  /SECRET|PASS|PWD|TOKEN|CREDENTIAL|AUTHORIZATION|COOKIE|(^|_)(KEYS?|URLS?|URI|DSN|HEADERS|ENDPOINT|CONNECTION)(_|$)/;
/** The value of any variable: a URL, `user:password@`, a setting such as libpq's `password=`. */
const SECRET_SHAPE = /:\/\/|:[^\s@]*@|=|pass(word|wd)?|secret|token/i;

/** Whether an environment variable may hold a secret, judged by its name and its value. */
export const isSecretVariable = (name: string, value: string): boolean =>
  SECRET_VARIABLE.test(name.toUpperCase()) || SECRET_SHAPE.test(value);
