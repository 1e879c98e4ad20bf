import { sharedMemory } from '../shared.ts';

/**
 * Where secrets lie while they are used. What `take` gives may lie in memory that threads share, so that no message to a
 * thread copies a secret: whoever needs bytes over a buffer of their own makes a copy, and wipes it.
 */
export interface SecretMemory {
  /** So many bytes, all 0. */
  take(length: number): Uint8Array;
  /** Wipes what `take` gave; a second time does no more than that. Nobody may use it any longer. */
  give(secret: Uint8Array): void;
}

/** A copy of `secret` in `memory`; `secret` itself is wiped. */
export function hold(memory: SecretMemory, secret: Uint8Array): Uint8Array {
  const held = memory.take(secret.length);
  held.set(secret);
  secret.fill(0);
  return held;
}

/** Where nothing can be locked: each secret in an array of its own. */
export const ordinaryMemory: SecretMemory = {
  take: (length) => new Uint8Array(sharedMemory(length)),
  give: (secret) => void secret.fill(0),
};

const LEAST = 64;

/** The locked pages within so many bytes of new memory, all 0; undefined when the system locks none. */
export type LockArena = (bytes: number) => Uint8Array | undefined;

/**
 * Slots of powers of two, from 64 bytes on, in arenas of locked pages that are kept for good. When the system gives no
 * more, or `most` bytes are locked, the rest lies in ordinary memory; `onRefused` is told, once.
 */
export class SecretPool implements SecretMemory {
  readonly #lock: LockArena;
  readonly #sizes: readonly number[];
  readonly #most: number;
  readonly #onRefused: () => void;
  readonly #free = new Map<number, Uint8Array[]>();
  readonly #taken = new Map<Uint8Array, Uint8Array>();
  #arena: Uint8Array = new Uint8Array();
  #locked = 0;
  #refused = false;

  /** @param sizes of arenas to ask for, bytes, largest first */
  constructor(options: { lock: LockArena; sizes: readonly number[]; most: number; onRefused: () => void }) {
    this.#lock = options.lock;
    this.#sizes = options.sizes;
    this.#most = options.most;
    this.#onRefused = options.onRefused;
  }

  /** Bytes that are locked. */
  get locked(): number {
    return this.#locked;
  }

  take(length: number): Uint8Array {
    const size = Math.max(LEAST, 2 ** Math.ceil(Math.log2(Math.max(1, length))));
    const slot = this.#free.get(size)?.pop() ?? this.#carve(size);
    if (slot === undefined) return ordinaryMemory.take(length);
    const secret = slot.subarray(0, length);
    this.#taken.set(secret, slot);
    return secret;
  }

  give(secret: Uint8Array): void {
    secret.fill(0);
    const slot = this.#taken.get(secret);
    if (slot === undefined) return;
    this.#taken.delete(secret);
    const free = this.#free.get(slot.length) ?? [];
    this.#free.set(slot.length, free);
    free.push(slot);
  }

  #carve(size: number): Uint8Array | undefined {
    if (this.#arena.length < size && !this.#grow(size)) return undefined;
    const slot = this.#arena.subarray(0, size);
    this.#arena = this.#arena.subarray(size);
    return slot;
  }

  #grow(size: number): boolean {
    // What was refused once is asked for no more: the limit is the process's.
    if (this.#refused) return false;
    for (const bytes of this.#sizes) {
      if (bytes < size || this.#locked + bytes > this.#most) continue;
      const arena = this.#lock(bytes);
      if (arena === undefined || arena.length < size) continue;
      this.#arena = arena;
      this.#locked += arena.length;
      return true;
    }
    this.#refused = true;
    this.#onRefused();
    return false;
  }
}
