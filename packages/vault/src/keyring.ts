import { type Bytes, concatBytes, MillraceError, type RandomSource, toHex, u32be, utf8, wipe } from '@millrace/base';
import type { Write } from '@millrace/stores';
import { contentKeysKey } from './records.ts';
import { KEY_BYTES } from './sizes.ts';
import type { Slots } from './slots.ts';
import { type KeyWrapper, openWith, sealWith } from './wrapper.ts';

/** Number of CEKs wrapped together. */
export const CHUNK = 256;

/**
 * Content keys at rest. CEKs are wrapped under the design's KEK, which is wrapped under the node's key and kept in a
 * slot that can be destroyed.
 */
export class Keyring {
  readonly #slots: Slots;
  readonly #wrapper: KeyWrapper;
  readonly #random: RandomSource;
  readonly #used = new Set<number>();

  constructor(slots: Slots, wrapper: KeyWrapper, random: RandomSource) {
    this.#slots = slots;
    this.#wrapper = wrapper;
    this.#random = random;
  }

  /** Overwrites every slot that no design uses. A crash may leave such slots. */
  async open(used: Iterable<number>): Promise<void> {
    for (const slot of used) this.#used.add(slot);
    const count = await this.#slots.count();
    for (let slot = 0; slot < count; slot++) {
      if (!this.#used.has(slot) && (await this.#slots.read(slot)) !== undefined) await this.#slots.erase(slot);
    }
  }

  /** Creates a design KEK and wraps the CEKs under it. */
  async add(design: Bytes, ceks: Uint8Array): Promise<{ slot: number; writes: Write[] }> {
    let slot = 0;
    while (this.#used.has(slot)) slot++;
    const kek = this.#random(KEY_BYTES);
    try {
      await this.#slots.write(slot, await this.#wrapper.wrap(kek, slotContext(design)));
      this.#used.add(slot);
      const writes: Write[] = [];
      for (let chunk = 0; chunk * CHUNK * KEY_BYTES < ceks.length; chunk++) {
        const part = ceks.subarray(chunk * CHUNK * KEY_BYTES, (chunk + 1) * CHUNK * KEY_BYTES);
        const value = sealWith(kek, part, chunkContext(design, chunk), this.#random);
        writes.push({ put: contentKeysKey(design, chunk), value });
      }
      return { slot, writes };
    } finally {
      wipe(kek);
    }
  }

  /**
   * CEKs of segments `from` to `to` (exclusive), 32 bytes each; the caller wipes them.
   * @param read reads a wrapped chunk from the database
   * @throws {MillraceError} E_CELL_DAMAGED if a key is lost or altered
   */
  async open32(
    design: Bytes,
    slot: number,
    from: number,
    to: number,
    read: (key: Bytes) => Promise<Bytes | undefined>,
  ): Promise<Bytes[]> {
    const kek = await this.#kek(design, slot);
    const ceks: Bytes[] = [];
    try {
      for (let chunk = Math.floor(from / CHUNK); chunk * CHUNK < to; chunk++) {
        const wrapped = await read(contentKeysKey(design, chunk));
        if (wrapped === undefined) throw lost(design, `content keys ${chunk} are missing`);
        const part = openWith(kek, wrapped, chunkContext(design, chunk));
        const start = Math.max(from, chunk * CHUNK);
        const end = Math.min(to, (chunk + 1) * CHUNK);
        for (let segment = start; segment < end; segment++) {
          const at = (segment - chunk * CHUNK) * KEY_BYTES;
          if (at + KEY_BYTES > part.length) throw lost(design, `the content key of segment ${segment} is missing`);
          ceks.push(part.slice(at, at + KEY_BYTES));
        }
        wipe(part);
      }
      return ceks;
    } catch (cause) {
      wipe(...ceks);
      throw cause instanceof MillraceError && cause.code === 'E_SEAL'
        ? lost(design, 'content keys cannot be unwrapped', cause)
        : cause;
    } finally {
      wipe(kek);
    }
  }

  /** Overwrites the design's KEK, so that its CEKs can never be unwrapped again. */
  async destroy(slot: number): Promise<void> {
    await this.#slots.erase(slot);
    this.#used.delete(slot);
  }

  async #kek(design: Bytes, slot: number): Promise<Bytes> {
    const wrapped = await this.#slots.read(slot);
    if (wrapped === undefined) throw lost(design, 'the design key is missing');
    return this.#wrapper.unwrap(wrapped, slotContext(design)).catch((cause: unknown) => {
      throw lost(design, 'the design key cannot be unwrapped', cause);
    });
  }
}

function lost(design: Bytes, what: string, cause?: unknown): MillraceError {
  return new MillraceError('E_CELL_DAMAGED', `design ${toHex(design)}: ${what}`, {
    data: { design: toHex(design) },
    cause,
  });
}

function slotContext(design: Uint8Array): Bytes {
  return concatBytes(utf8('millrace/v1/design-key/'), design);
}

function chunkContext(design: Uint8Array, chunk: number): Bytes {
  return concatBytes(utf8('millrace/v1/content-keys/'), design, u32be(chunk));
}
