import { MillraceError, utf8 } from '@millrace/base/core';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { MIX_INTERVAL, requireBytes, SEED_BYTES } from './parameters.ts';
import { ordinaryMemory, type SecretMemory } from './secrets/memory.ts';

/** Block number, the last byte of the expanded input (RFC 5869, 2.3). */
const FIRST = Uint8Array.of(1);

/** The four keys of one revision, each a separate expansion of its secret, in memory for secrets. */
export interface RevisionKeys {
  readonly revision: bigint;
  /** k of the table. */
  readonly table: Uint8Array;
  /** k of chaff's hints. */
  readonly chaff: Uint8Array;
  /** Key of the frame's MAC. */
  readonly mac: Uint8Array;
  /** k of the frame's keystream: mask of the parity, places of chaff. */
  readonly parity: Uint8Array;
  /** Wipes all four keys. Further calls do nothing. */
  wipe(): void;
}

/** Fresh shared secret for a revision; undefined if it has not arrived. */
export type FreshSecrets = (revision: bigint) => Uint8Array | undefined;

/**
 * s_{r+1} = HKDF-Expand(s_r, "ratchet"). s_r is erased as soon as the keys of r and s_{r+1} are computed, so that it
 * cannot be recovered (crypto-review section 1, RFC 5869). Before every revision r > 0 that is a multiple of 64, a
 * fresh shared secret is mixed in, because the ratchet alone does not heal.
 */
export class Ratchet {
  readonly #memory: SecretMemory;
  #keys: RevisionKeys;
  /** s of the revision after the current one. */
  #next: Uint8Array;
  #mixed = false;
  #closed = false;

  /**
   * @param seed s of the first revision, 32 bytes; copied, and the caller wipes the original
   * @param memory memory for the ratchet's secrets
   */
  constructor(seed: Uint8Array, first: bigint, memory: SecretMemory = ordinaryMemory) {
    requireBytes('the seed', seed, SEED_BYTES);
    if (first < 0n || first >= 2n ** 64n) throw new MillraceError('E_INPUT', 'a revision is a 64-bit number');
    this.#memory = memory;
    this.#keys = deriveKeys(memory, seed, first);
    this.#next = memory.take(SEED_BYTES);
    expandInto(this.#next, seed, 'ratchet');
  }

  get keys(): RevisionKeys {
    return this.#keys;
  }

  get revision(): bigint {
    return this.#keys.revision;
  }

  /** Whether `advance` needs `mix` first. */
  get needsMix(): boolean {
    return (this.revision + 1n) % MIX_INTERVAL === 0n && !this.#mixed;
  }

  /**
   * Mixes a fresh shared secret into the next revision's s: HKDF-Extract(salt s, secret).
   * @throws {MillraceError} E_STATE if the next revision needs no secret, or already has one
   */
  mix(secret: Uint8Array): void {
    this.#requireOpen();
    if (!this.needsMix) throw new MillraceError('E_STATE', 'the next revision takes no fresh secret');
    // HKDF-Extract is HMAC with the salt as its key.
    const mixed = this.#memory.take(SEED_BYTES);
    hmac.create(sha256, this.#next).update(secret).digestInto(mixed);
    this.#replace(mixed);
    this.#mixed = true;
  }

  /**
   * Advances to the next revision. The caller wipes the keys of the previous one.
   * @throws {MillraceError} E_REVISION_MIX if a fresh secret is due
   */
  advance(): void {
    this.#requireOpen();
    if (this.needsMix) throw needsFreshSecret(this.revision + 1n);
    this.#keys = deriveKeys(this.#memory, this.#next, this.revision + 1n);
    const next = this.#memory.take(SEED_BYTES);
    expandInto(next, this.#next, 'ratchet');
    this.#replace(next);
    this.#mixed = false;
  }

  /**
   * Uses the MAC key of a later revision without advancing, to verify a frame that claims it.
   * @param freshSecret the secret that `mix` will get for a revision, if it has arrived
   * @throws {MillraceError} E_REVISION_MIX if a fresh secret in between has not arrived
   */
  withMacKeyAt<T>(revision: bigint, freshSecret: FreshSecrets, use: (key: Uint8Array) => T): T {
    this.#requireOpen();
    const [secret, other] = [this.#memory.take(SEED_BYTES), this.#memory.take(SEED_BYTES)];
    try {
      secret.set(this.#next);
      for (let at = this.revision + 1n; ; at++) {
        const isMixed = at === this.revision + 1n && this.#mixed;
        if (at % MIX_INTERVAL === 0n && !isMixed) {
          const fresh = freshSecret(at);
          if (fresh === undefined) throw needsFreshSecret(at);
          hmac.create(sha256, secret).update(fresh).digestInto(other);
          secret.set(other);
        }
        if (at === revision) break;
        expandInto(other, secret, 'ratchet');
        secret.set(other);
      }
      expandInto(other, secret, 'mac');
      return use(other);
    } finally {
      this.#memory.give(secret);
      this.#memory.give(other);
    }
  }

  close(): void {
    this.#closed = true;
    this.#memory.give(this.#next);
    this.#keys.wipe();
  }

  #replace(next: Uint8Array): void {
    this.#memory.give(this.#next);
    this.#next = next;
  }

  #requireOpen(): void {
    if (this.#closed) throw new MillraceError('E_STATE', 'the ratchet is closed');
  }
}

export function wipeKeys(keys: RevisionKeys): void {
  keys.wipe();
}

const KEYS = ['table', 'chaff', 'mac', 'parity'] as const;

/**
 * Keys are in shared memory if possible, and worker threads read them in place: a copy in a message could not be wiped.
 */
function deriveKeys(memory: SecretMemory, secret: Uint8Array, revision: bigint): RevisionKeys {
  const all = memory.take(KEYS.length * SEED_BYTES);
  const [table, chaff, mac, parity] = KEYS.map((label, i) => {
    const key = all.subarray(i * SEED_BYTES, (i + 1) * SEED_BYTES);
    expandInto(key, secret, label);
    return key;
  }) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
  let wiped = false;
  const wipe = () => {
    // The memory may have been reused.
    if (wiped) return;
    wiped = true;
    memory.give(all);
  };
  return { revision, table, chaff, mac, parity, wipe };
}

/** HKDF-Expand of one block, written in place: the library's function leaves a copy behind. */
function expandInto(out: Uint8Array, secret: Uint8Array, label: string): void {
  hmac.create(sha256, secret).update(utf8(label)).update(FIRST).digestInto(out);
}

function needsFreshSecret(revision: bigint): MillraceError {
  return new MillraceError('E_REVISION_MIX', 'the revision needs a fresh shared secret', { data: { revision } });
}
