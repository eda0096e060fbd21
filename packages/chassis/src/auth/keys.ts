// The keys of the issuer. They are fetched again by age, and when a token names a key that is not among them. While the issuer
// is unavailable, the keys that were fetched last go on.
import {
  type CryptoKey,
  createLocalJWKSet,
  errors,
  type JSONWebKeySet,
  type JWSHeaderParameters,
} from 'jose';
import type { Logger } from '../context.ts';
import { asError } from '../errors.ts';

export interface KeysOptions {
  /** AUTH_JWKS_URL */
  url: string;
  /** ms after which they are fetched again: a key that has left the set is accepted for so long at most. */
  refresh: number;
  log: Logger;
  now: () => Date;
}

type Find = ReturnType<typeof createLocalJWKSet>;

/** The part of `refresh` after which keys are fetched in the background. */
const EARLY_REFRESH_SHARE = 0.8;
/** ms between attempts while the issuer is unavailable. */
const RETRY_MS = 2_000;
/** ms after a fetch for an unknown key that has not found it: tokens with invented keys do not call the issuer at will. */
const UNKNOWN_KEY_COOLDOWN_MS = 5_000;
const FETCH_TIMEOUT_MS = 5_000;
const MAX_KEY_SET_BYTES = 1024 * 1024;

export class Keys {
  readonly #options: KeysOptions;
  #find: Find | undefined;
  #text = '';
  #fetching: Promise<void> | undefined;
  /** ms of the clock: when the next fetch is due, and when requests wait for it. */
  #dueAt = Number.NEGATIVE_INFINITY;
  #lateAt = Number.NEGATIVE_INFINITY;
  #unknownUntil = Number.NEGATIVE_INFINITY;
  /** Changes with the set. */
  generation = 0;
  /** Whether the last fetch failed. */
  failing = false;

  constructor(options: KeysOptions) {
    this.#options = options;
  }

  get available(): boolean {
    return this.#find !== undefined;
  }

  /**
   * Fetches the keys when they are due.
   * @returns what a request has to wait for; nothing where the keys are fresh, or the issuer has just been unavailable
   */
  fresh(): Promise<void> | undefined {
    const now = this.#now();
    if (now < this.#dueAt) return undefined;
    const fetched = this.#fetch();
    return now >= this.#lateAt && !(this.failing && this.available) ? fetched : undefined;
  }

  /**
   * The key of a token; where the set does not have it, of the set as it is now.
   * @throws {JOSEError}
   */
  async find(header: JWSHeaderParameters, token: Parameters<Find>[1]): Promise<CryptoKey> {
    for (;;) {
      const find = this.#find as Find;
      try {
        return await find(header, token);
      } catch (error) {
        if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
        const isLatest = () => find === this.#find;
        if (isLatest() && this.#now() < this.#unknownUntil) throw error;
        // A fetch that has begun before may bring the set that was there before the key.
        if (isLatest()) await this.#fetching;
        if (isLatest()) await this.#fetch();
        if (!isLatest()) continue;
        this.#unknownUntil = this.#now() + UNKNOWN_KEY_COOLDOWN_MS;
        throw error;
      }
    }
  }

  /** One fetch at a time; never rejects. */
  #fetch(): Promise<void> {
    this.#fetching ??= this.#load().finally(() => {
      this.#fetching = undefined;
    });
    return this.#fetching;
  }

  async #load(): Promise<void> {
    const { url, refresh, log } = this.#options;
    try {
      const text = await download(url);
      if (text !== this.#text) {
        this.#find = createLocalJWKSet(parse(text));
        this.#text = text;
        this.generation += 1;
        log.info({ generation: this.generation }, 'fetched the keys of the issuer');
      } else if (this.failing) log.info('the issuer is available again');
      this.failing = false;
      this.#dueAt = this.#now() + refresh * EARLY_REFRESH_SHARE;
      this.#lateAt = this.#now() + refresh;
    } catch (error) {
      if (!this.failing) log.warn({ err: error }, 'cannot fetch the keys of the issuer; retrying');
      this.failing = true;
      this.#dueAt = this.#now() + RETRY_MS;
    }
  }

  #now(): number {
    return this.#options.now().getTime();
  }
}

async function download(url: string): Promise<string> {
  const response = await fetch(url, {
    headers: { accept: 'application/json' },
    redirect: 'error',
    signal: AbortSignal.timeout(FETCH_TIMEOUT_MS),
  });
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of response.body ?? []) {
    bytes += piece.length;
    if (bytes > MAX_KEY_SET_BYTES) throw new Error(`the key set has more than ${MAX_KEY_SET_BYTES} bytes`);
    pieces.push(piece);
  }
  if (!response.ok) throw new Error(`the issuer returned status ${response.status}`);
  return Buffer.concat(pieces).toString('utf8');
}

/** Keeps only public keys. @throws if there is none: a fault of the issuer */
function parse(text: string): JSONWebKeySet {
  let keys: JSONWebKeySet['keys'];
  try {
    ({ keys } = JSON.parse(text) as JSONWebKeySet);
    keys = keys.filter(({ kty, use }) => kty !== 'oct' && use !== 'enc');
  } catch (cause) {
    throw new Error(`the issuer returned an invalid key set: ${asError(cause).message}`, { cause });
  }
  if (keys.length === 0) throw new Error('the key set of the issuer has no key to verify with');
  return { keys };
}
