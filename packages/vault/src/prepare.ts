import { type Bytes, copyBytes, MillraceError, type RandomSource, systemRandom, wipe } from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import { type Custody, type DesignCore, MAX_SEGMENTS } from './core.ts';
import { encodeManifest, readManifest } from './manifest.ts';
import type { MaintenanceMode } from './modes.ts';
import { contentMac, sealSegment } from './segment.ts';
import { CONTENT_BYTES, HASH_BYTES, KEY_BYTES } from './sizes.ts';

/** Facts about a design that are known only after its last byte. */
export interface DesignFacts {
  /** Expected consumption at factor 1 of every segment, units of 0.1 ms. */
  readonly times: ArrayLike<number>;
  /** The part that the owner sealed to itself. */
  readonly private?: Uint8Array;
  /** How far the design goes, sealed under its secret. */
  readonly envelope?: Uint8Array | undefined;
  /** How the cells are renewed. Default: `rekey`. */
  readonly maintenance?: MaintenanceMode;
}

/** Totals of the whole design. */
export interface Counted {
  readonly segments: number;
  readonly size: number;
  /** designNonce, 16 bytes. */
  readonly nonce: Bytes;
  /** Needed in the part that the owner seals to itself. Wiped after `describe`. */
  readonly designSecret: Bytes;
}

export interface PrepareOptions {
  readonly kind: string;
  /** The owner's secp256k1 key, compressed. */
  readonly owner: Uint8Array;
  /** The organisation for which the owner's key acts. */
  readonly organisation?: string | undefined;
  /** Who keeps the design secret. Default: the owner. */
  readonly custody?: Custody | undefined;
  /** Approvals that every licence of the design needs. */
  readonly approvals?: DesignCore['approvals'];
  /** Called with each sealed segment (16,386 bytes) in order. The next segment is sealed after it resolves. */
  readonly sink: (segment: number, sealed: Bytes) => Promise<void> | void;
  /** Called once, after the source is exhausted. */
  readonly describe: (counted: Counted) => Promise<DesignFacts> | DesignFacts;
  readonly random?: RandomSource;
  readonly signal?: AbortSignal;
}

export interface SealedDesign {
  readonly manifest: Bytes;
  readonly designId: string;
  readonly segments: number;
  readonly size: number;
  /** 32 bytes per segment, in order. The caller seals them to the keys node and wipes them. */
  readonly ceks: Bytes;
  /** 32 bytes. The caller seals it to the owner, sends it to the keys node only under custody `keys`, and wipes it. */
  readonly designSecret: Bytes;
}

/**
 * Owner's side: splits and seals a design as it streams through. Uses memory for two pieces and 68 bytes per segment.
 * @throws {MillraceError} E_DESIGN_EMPTY, E_TOO_LARGE; on any failure the keys are wiped
 */
export async function prepareDesign(source: AsyncIterable<Uint8Array>, options: PrepareOptions): Promise<SealedDesign> {
  const sealer = new Sealer(options);
  try {
    for await (const chunk of source) {
      options.signal?.throwIfAborted();
      await sealer.write(chunk);
    }
    return await sealer.finish();
  } catch (error) {
    sealer.destroy();
    throw error;
  }
}

class Sealer {
  readonly #options: PrepareOptions;
  readonly #random: RandomSource;
  readonly #nonce: Bytes;
  readonly #designSecret: Bytes;
  readonly #piece = new Uint8Array(CONTENT_BYTES);
  #ceks = new Growing(KEY_BYTES);
  #hashes = new Growing(HASH_BYTES);
  #mac: ReturnType<typeof contentMac> | undefined;
  #filled = 0;
  #size = 0;

  constructor(options: PrepareOptions) {
    this.#options = options;
    this.#random = options.random ?? systemRandom;
    this.#nonce = this.#random(16);
    this.#designSecret = this.#random(KEY_BYTES);
  }

  async write(chunk: Uint8Array): Promise<void> {
    for (let offset = 0; offset < chunk.length; ) {
      // Keep a full piece until more data arrives: the last piece is sealed differently.
      if (this.#filled === CONTENT_BYTES) await this.#seal(false);
      const taken = chunk.subarray(offset, offset + CONTENT_BYTES - this.#filled);
      this.#piece.set(taken, this.#filled);
      this.#filled += taken.length;
      this.#size += taken.length;
      offset += taken.length;
    }
  }

  async finish(): Promise<SealedDesign> {
    const { kind, owner, organisation, custody = 'owner', approvals, describe } = this.#options;
    if (this.#size === 0) throw new MillraceError('E_DESIGN_EMPTY', 'the design is empty');
    await this.#seal(true);
    const segments = this.#hashes.count;
    const [nonce, designSecret] = [copyBytes(this.#nonce), copyBytes(this.#designSecret)];
    const counted = { segments, size: this.#size, nonce, designSecret };
    const facts = await Promise.resolve(describe(counted)).finally(() => wipe(designSecret));
    if (facts.times.length !== segments) {
      throw new MillraceError('E_INPUT', `expected times for ${segments} segments, got ${facts.times.length}`);
    }
    const manifest = encodeManifest({
      owner: copyBytes(owner),
      ...(organisation && { organisation }),
      custody,
      kind,
      size: this.#size,
      segments,
      nonce: this.#nonce,
      hashes: this.#hashes.bytes(),
      times: Uint32Array.from(facts.times, (tenths) => Math.min(0xffff_ffff, Math.max(0, Math.round(tenths)))),
      contentMac: this.#mac?.digest() ?? new Uint8Array(32),
      maintenance: facts.maintenance,
      approvals,
      private: facts.private && copyBytes(facts.private),
      envelope: facts.envelope && copyBytes(facts.envelope),
    });
    const { designId } = readManifest(manifest);
    const ceks = this.#ceks.bytes();
    const kept = copyBytes(this.#designSecret);
    this.destroy();
    return { manifest, designId, segments, size: this.#size, ceks, designSecret: kept };
  }

  destroy(): void {
    this.#ceks.wipe();
    wipe(this.#piece, this.#designSecret);
  }

  async #seal(final: boolean): Promise<void> {
    const number = this.#hashes.count;
    if (number >= MAX_SEGMENTS) throw new MillraceError('E_TOO_LARGE', `a design has at most ${MAX_SEGMENTS} segments`);
    const cek = this.#random(KEY_BYTES);
    const designSecret = this.#designSecret;
    this.#mac ??= contentMac({ cek, designSecret });
    this.#mac.update(this.#piece.subarray(0, this.#filled));
    this.#piece.fill(0, this.#filled);
    const sealed = sealSegment({ cek, designSecret, content: this.#piece, designNonce: this.#nonce, number, final });
    this.#ceks.add(cek);
    this.#hashes.add(sha256(sealed));
    wipe(cek, this.#piece);
    this.#filled = 0;
    await this.#options.sink(number, sealed);
  }
}

/** Concatenated records of one size. Outgrown buffers are wiped. */
class Growing {
  readonly #each: number;
  #bytes = new Uint8Array(0);
  count = 0;

  constructor(each: number) {
    this.#each = each;
  }

  add(record: Uint8Array): void {
    const end = (this.count + 1) * this.#each;
    if (end > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(64 * this.#each, 2 * this.#bytes.length));
      larger.set(this.#bytes);
      wipe(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes.set(record, end - this.#each);
    this.count++;
  }

  bytes(): Bytes {
    return copyBytes(this.#bytes.subarray(0, this.count * this.#each));
  }

  wipe(): void {
    wipe(this.#bytes);
  }
}
