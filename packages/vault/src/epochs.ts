import { type Bytes, concatBytes, MillraceError, type RandomSource, u32be, utf8 } from '@millrace/base';
import { hold, secretMemory } from '@millrace/live-matrix';
import { indexKey } from './outer.ts';
import { KEY_BYTES } from './sizes.ts';
import type { Slots } from './slots.ts';
import type { KeyWrapper } from './wrapper.ts';

/** One epoch's secrets, in memory until the epoch is dropped. */
export interface Epoch {
  readonly number: number;
  /** Both are allocated in memory for secrets. */
  readonly key: Uint8Array;
  readonly indexKey: Uint8Array;
}

/** K_e of the current epoch and, during a sweep, of the next one: in slot e mod 2. */
export class EpochKeys {
  readonly #slots: Slots;
  readonly #wrapper: KeyWrapper;
  readonly #random: RandomSource;
  readonly #live = new Map<number, Epoch>();

  constructor(slots: Slots, wrapper: KeyWrapper, random: RandomSource) {
    this.#slots = slots;
    this.#wrapper = wrapper;
    this.#random = random;
  }

  /** The secrets of an epoch that was loaded or created. */
  get(epoch: number): Epoch {
    const live = this.#live.get(epoch);
    if (live === undefined)
      throw new MillraceError('E_STORE', `the key of epoch ${epoch} is not loaded`, { data: { epoch } });
    return live;
  }

  /** @throws {MillraceError} E_STORE if the epoch's key is missing, E_SEAL if another node wrapped it */
  async load(epoch: number): Promise<Epoch> {
    const live = this.#live.get(epoch);
    if (live !== undefined) return live;
    const content = await this.#slots.read(epoch % 2);
    if (content === undefined || numberIn(content) !== epoch) {
      throw new MillraceError('E_STORE', `the key of epoch ${epoch} is missing`, { data: { epoch } });
    }
    return this.#keep(epoch, await this.#wrapper.unwrap(content.subarray(4), contextOf(epoch)));
  }

  /** Creates and stores the key of a new epoch. Overwrites its slot. */
  async create(epoch: number): Promise<Epoch> {
    const key = this.#random(KEY_BYTES);
    await this.#slots.write(epoch % 2, concatBytes(u32be(epoch), await this.#wrapper.wrap(key, contextOf(epoch))));
    return this.#keep(epoch, key);
  }

  /**
   * Creates the first epoch of a new vault.
   * @throws {MillraceError} E_STORE if keys of later epochs exist: their playbook is lost, and they must not be
   *   overwritten
   */
  async createFirst(): Promise<Epoch> {
    for (const slot of [0, 1]) {
      const content = await this.#slots.read(slot);
      if (content !== undefined && numberIn(content) !== 1) {
        throw new MillraceError('E_STORE', 'the keys of a vault exist, but its playbook is missing; restore it');
      }
    }
    return this.create(1);
  }

  /** Overwrites the keys of all other epochs, in memory and at rest. */
  async keepOnly(...epochs: readonly number[]): Promise<void> {
    for (const [number, { key, indexKey }] of this.#live) {
      if (epochs.includes(number)) continue;
      forget(key, indexKey);
      this.#live.delete(number);
    }
    for (const slot of [0, 1]) {
      const content = await this.#slots.read(slot);
      if (content !== undefined && !epochs.includes(numberIn(content))) await this.#slots.erase(slot);
    }
  }

  async close(): Promise<void> {
    for (const { key, indexKey } of this.#live.values()) forget(key, indexKey);
    this.#live.clear();
  }

  #keep(number: number, key: Bytes): Epoch {
    const memory = secretMemory();
    const epoch = { number, indexKey: hold(memory, indexKey(key)), key: hold(memory, key) };
    this.#live.set(number, epoch);
    return epoch;
  }
}

function forget(...secrets: readonly Uint8Array[]): void {
  for (const secret of secrets) secretMemory().give(secret);
}

function numberIn(content: Bytes): number {
  return content.length < 4 ? -1 : new DataView(content.buffer, content.byteOffset).getUint32(0);
}

function contextOf(epoch: number): Bytes {
  return concatBytes(utf8('millrace/v1/epoch-key/'), u32be(epoch));
}
