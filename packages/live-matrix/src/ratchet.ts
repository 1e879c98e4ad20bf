import { type Bytes, copyBytes, MillraceError, utf8, wipe } from '@millrace/base/core';
import { expand, extract } from '@noble/hashes/hkdf.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { MIX_INTERVAL, requireBytes, SEED_BYTES } from './parameters.ts';
import { sharedMemory } from './shared.ts';

/** The four keys of one revision; each is a separate expansion of its secret. */
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
}

/**
 * s_{r+1} = HKDF-Expand(s_r, "ratchet"); s_r is erased as soon as the keys of r and s_{r+1} are computed, so that
 * nothing that still exists leads back (crypto-review section 1, RFC 5869). Before every revision r > 0 that is
 * a multiple of 64, a fresh shared secret is mixed in: the ratchet alone does not heal.
 */
export class Ratchet {
  #keys: RevisionKeys;
  /** s of the revision after the current one. */
  readonly #next: Bytes;
  #mixed = false;
  #closed = false;

  /** @param seed s of the first revision, 32 bytes; the caller keeps (and wipes) its own copy. */
  constructor(seed: Uint8Array, first: bigint) {
    requireBytes('the seed', seed, SEED_BYTES);
    if (first < 0n || first >= 2n ** 64n) throw new MillraceError('E_INPUT', 'a revision is a 64-bit number');
    const secret = copyBytes(seed);
    this.#keys = deriveKeys(secret, first);
    this.#next = expandOnce(secret, 'ratchet');
    wipe(secret);
  }

  get keys(): RevisionKeys {
    return this.#keys;
  }

  get revision(): bigint {
    return this.#keys.revision;
  }

  /** True when `advance` needs `mix` first. */
  get needsMix(): boolean {
    return (this.revision + 1n) % MIX_INTERVAL === 0n && !this.#mixed;
  }

  /**
   * Mixes a fresh shared secret into the next revision's s: HKDF-Extract(salt s, secret).
   * @throws {MillraceError} E_STATE when the next revision takes none, or has one already.
   */
  mix(secret: Uint8Array): void {
    this.#requireOpen();
    if (!this.needsMix) throw new MillraceError('E_STATE', 'the next revision takes no fresh secret');
    const mixed = extract(sha256, secret, this.#next);
    this.#next.set(mixed);
    wipe(mixed);
    this.#mixed = true;
  }

  /**
   * Moves on to the next revision. The keys of the one before are the caller's to wipe.
   * @throws {MillraceError} E_REVISION_MIX when a fresh secret is due.
   */
  advance(): void {
    this.#requireOpen();
    if (this.needsMix) {
      throw new MillraceError('E_REVISION_MIX', 'the next revision needs a fresh shared secret', {
        data: { revision: this.revision + 1n },
      });
    }
    const next = expandOnce(this.#next, 'ratchet');
    this.#keys = deriveKeys(this.#next, this.revision + 1n);
    this.#next.set(next);
    wipe(next);
    this.#mixed = false;
  }

  close(): void {
    this.#closed = true;
    wipe(this.#next);
    wipeKeys(this.#keys);
  }

  #requireOpen(): void {
    if (this.#closed) throw new MillraceError('E_STATE', 'the ratchet is closed');
  }
}

export function wipeKeys(keys: RevisionKeys): void {
  wipe(keys.table, keys.chaff, keys.mac, keys.parity);
}

function deriveKeys(secret: Uint8Array, revision: bigint): RevisionKeys {
  return {
    revision,
    table: shared(expandOnce(secret, 'table')),
    chaff: expandOnce(secret, 'chaff'),
    mac: expandOnce(secret, 'mac'),
    parity: shared(expandOnce(secret, 'parity')),
  };
}

function expandOnce(secret: Uint8Array, label: string): Bytes {
  return copyBytes(expand(sha256, secret, utf8(label), 32));
}

/** Worker threads read these two keys in place: a copy in a message could not be wiped. */
function shared(key: Bytes): Uint8Array {
  const out = new Uint8Array(sharedMemory(key.length));
  out.set(key);
  wipe(key);
  return out;
}
