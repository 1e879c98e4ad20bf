import {
  type Bytes,
  compareBytes,
  concatBytes,
  copyBytes,
  KeyedMutex,
  MillraceError,
  type RandomSource,
  systemRandom,
  toHex,
} from '@millrace/base';
import type { Key, Store } from './port.ts';

export type Decision =
  | { readonly outcome: 'applied'; readonly value: Bytes; readonly previous: Bytes | undefined }
  | { readonly outcome: 'refused'; readonly current: Bytes | undefined };

export type Change = (current: Bytes | undefined) => Uint8Array | undefined | Promise<Uint8Array | undefined>;

const CLAIM = 16;
/** Number of claim ids kept with a value, newest first. */
const HISTORY = 32;
const ATTEMPTS = 256;

/**
 * Values that decide something (a permit count, a head of a chain), changed only by compare-and-swap. A stored value is
 * count (1), claim ids (16 each, newest first, at most 32), payload. Each attempt has its own claim id. When a cluster
 * answers `unknown`, the history shows whether this claim was applied. Changes of one key are serialized inside the
 * process, so that a burst loses no races.
 */
export class Decisions {
  readonly #store: Store;
  readonly #random: RandomSource;
  readonly #mutexes = new KeyedMutex();

  constructor(store: Store, options: { random?: RandomSource } = {}) {
    this.#store = store;
    this.#random = options.random ?? systemRandom;
  }

  async read(key: Key): Promise<Bytes | undefined> {
    const stored = await this.#store.get(key);
    return stored && parse(stored).payload;
  }

  /**
   * @param change Gives the next payload, or undefined to refuse. Called again with fresh bytes after a lost race, so
   *   it must do nothing else.
   * @throws {MillraceError} E_CONFLICT after 256 lost races; E_UNAVAILABLE when the outcome cannot be known.
   */
  async decide(key: Key, change: Change): Promise<Decision> {
    return this.#mutexes.run(toHex(key), () => this.#decide(copyBytes(key), change));
  }

  async #decide(key: Key, change: Change): Promise<Decision> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const stored = await this.#store.get(key);
      const before = stored && parse(stored);
      const previous = before?.payload;
      const payload = await change(previous && copyBytes(previous));
      if (payload === undefined) return { outcome: 'refused', current: previous };
      const claim = this.#random(CLAIM);
      const next = format([claim, ...(before?.claims ?? [])].slice(0, HISTORY), payload);
      const swap = await this.#store.compareAndSwap(key, stored, next);
      const applied = swap === 'unknown' ? await this.#settle(key, before?.claims[0], claim) : swap === 'applied';
      if (applied) return { outcome: 'applied', value: copyBytes(payload), previous };
    }
    throw new MillraceError('E_CONFLICT', `lost ${ATTEMPTS} races for one key`, { data: { key: toHex(key) } });
  }

  /** Whether `claim` was the one that followed `predecessor`. */
  async #settle(key: Key, predecessor: Bytes | undefined, claim: Bytes): Promise<boolean> {
    const stored = await this.#store.get(key);
    const claims = stored === undefined ? [] : parse(stored).claims;
    if (claims.some((other) => compareBytes(other, claim) === 0)) return true;
    const reachesBack =
      predecessor === undefined
        ? claims.length < HISTORY
        : claims.some((other) => compareBytes(other, predecessor) === 0);
    if (reachesBack) return false;
    throw new MillraceError('E_UNAVAILABLE', 'the outcome of a write is not known', { data: { key: toHex(key) } });
  }
}

function format(claims: readonly Uint8Array[], payload: Uint8Array): Bytes {
  return concatBytes(Uint8Array.of(claims.length), ...claims, payload);
}

function parse(stored: Bytes): { claims: Bytes[]; payload: Bytes } {
  const count = stored[0] ?? 0;
  const start = 1 + count * CLAIM;
  if (count < 1 || count > HISTORY || stored.length < start) {
    throw new MillraceError('E_STORE', 'a decided value is damaged');
  }
  const claims = Array.from({ length: count }, (_, i) => stored.slice(1 + i * CLAIM, 1 + (i + 1) * CLAIM));
  return { claims, payload: stored.slice(start) };
}
