import { sharedMemory } from '../shared.ts';

/**
 * Memory for secrets in use. `take` may return memory that threads share, so that no message to a thread copies a
 * secret. A caller that needs a separate buffer makes a copy and wipes it.
 */
export interface SecretMemory {
  /** Returns `length` zero bytes. */
  take(length: number): Uint8Array;
  /** Wipes and releases memory from `take`. It must not be used afterwards. A second call has no effect. */
  give(secret: Uint8Array): void;
}

/** Copies `secret` into `memory` and wipes the original. */
export function hold(memory: SecretMemory, secret: Uint8Array): Uint8Array {
  const held = memory.take(secret.length);
  held.set(secret);
  secret.fill(0);
  return held;
}

/** Ordinary memory without locking: one array per secret. */
export const ordinaryMemory: SecretMemory = {
  take: (length) => new Uint8Array(sharedMemory(length)),
  give: (secret) => void secret.fill(0),
};

const LEAST = 64;

/** Allocates `bytes` bytes and returns the locked pages within them, all zero; undefined if the system locks none. */
export type LockArena = (bytes: number) => Uint8Array | undefined;

/**
 * Slots of powers of two, from 64 bytes, in arenas of locked pages that are never freed. If the system refuses to lock
 * more, or `most` bytes are locked, further secrets use ordinary memory and `onRefused` is called once.
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

  /** @param sizes sizes of arenas to try, bytes, largest first */
  constructor(options: { lock: LockArena; sizes: readonly number[]; most: number; onRefused: () => void }) {
    this.#lock = options.lock;
    this.#sizes = options.sizes;
    this.#most = options.most;
    this.#onRefused = options.onRefused;
  }

  /** Number of locked bytes. */
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
    // Do not ask again after a refusal: the limit applies to the whole process.
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
