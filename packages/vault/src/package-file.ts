import {
  type Bytes,
  concatBytes,
  copyBytes,
  decodeCbor,
  encodeCbor,
  equalBytes,
  hkdf,
  MillraceError,
  parse,
  u32be,
  utf8,
  wipe,
} from '@millrace/base';
import { openAes256Gcm, sealAes256Gcm, sha256 } from '@millrace/base/crypto';
import { z } from 'zod';
import { type NamedCore, readCore } from './core.ts';
import { GROUP_SEGMENTS, HashTree } from './hash-tree.ts';
import { HASH_BYTES, KEY_BYTES, SEGMENT_BYTES, TAG_BYTES } from './sizes.ts';

// Job packages: a design's sealed segments in a file that travels (spec/packages.md, section 1).

const MAGIC = utf8('millrace-job/v1\n');
const LABEL = utf8('millrace/v1/package-keys');
const ZERO_NONCE = new Uint8Array(12);
/** Keys that are sealed together. */
const CHUNK_KEYS = GROUP_SEGMENTS;
const CHUNK_BYTES = CHUNK_KEYS * KEY_BYTES;
/** Length of the trailer's length. */
const LENGTH_BYTES = 4;
const MAX_TRAILER_BYTES = 65_536;

const trailerSchema = z.strictObject({
  /** The owner's licence, which names the package. */
  licence: z.instanceof(Uint8Array),
  /** Credential of its signer. */
  signer: z.instanceof(Uint8Array),
  core: z.instanceof(Uint8Array),
});
export type PackageTrailer = z.output<typeof trailerSchema>;

/** The bytes of a package. */
export interface PackageSource {
  /** Bytes. */
  readonly size: number;
  /** @returns exactly `length` bytes */
  read(offset: number, length: number): Promise<Bytes>;
}

/** Where the parts of a package begin. The design secret is the first key, the content keys follow. */
function layoutOf(segments: number) {
  const keys = segments + 1;
  const chunks = Math.ceil(keys / CHUNK_KEYS);
  const hashesAt = MAGIC.length + segments * SEGMENT_BYTES;
  const keysAt = hashesAt + segments * HASH_BYTES;
  const keysBytes = keys * KEY_BYTES + chunks * TAG_BYTES;
  return { chunks, hashesAt, keysAt, keysBytes, trailerAt: keysAt + keysBytes };
}

const chunkKey = (key: Uint8Array, chunk: number): Bytes =>
  hkdf([key], new Uint8Array(), concatBytes(LABEL, u32be(chunk)));

const chunkData = (chunk: number, final: boolean): Bytes =>
  concatBytes(LABEL, u32be(chunk), Uint8Array.of(final ? 1 : 0));

/**
 * Seals the design secret and the content keys under the key of a package, 64 at a time, each under a key that is used
 * only once.
 * @param ceks 32 bytes for each segment
 */
export function sealPackageKeys(key: Uint8Array, designSecret: Uint8Array, ceks: Uint8Array): Bytes {
  const keys = concatBytes(designSecret, ceks);
  const { chunks } = layoutOf(ceks.length / KEY_BYTES);
  const sealed: Bytes[] = [];
  for (let chunk = 0; chunk < chunks; chunk++) {
    const own = chunkKey(key, chunk);
    const part = keys.subarray(chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES);
    sealed.push(sealAes256Gcm(own, ZERO_NONCE, part, chunkData(chunk, chunk === chunks - 1)));
    wipe(own);
  }
  wipe(keys);
  return concatBytes(...sealed);
}

/** Bytes of a package before its segments. */
export const packageStart = (): Bytes => copyBytes(MAGIC);

/** Bytes of a package after its segments, their hashes and its keys. */
export function packageEnd(trailer: PackageTrailer): Bytes {
  const bytes = encodeCbor(trailer);
  if (bytes.length > MAX_TRAILER_BYTES)
    throw new MillraceError('E_TOO_LARGE', `the trailer of a package has at most ${MAX_TRAILER_BYTES} bytes`);
  return concatBytes(bytes, u32be(bytes.length), MAGIC);
}

/** A job package whose form is right. Nothing in it is trusted before `verify`. */
export class PackageFile {
  readonly trailer: PackageTrailer;
  readonly core: NamedCore;
  readonly #source: PackageSource;
  readonly #layout: ReturnType<typeof layoutOf>;

  private constructor(source: PackageSource, trailer: PackageTrailer) {
    this.trailer = trailer;
    this.core = readCore(trailer.core);
    this.#source = source;
    this.#layout = layoutOf(this.core.segments);
  }

  /** @throws {MillraceError} E_PACKAGE if it is no package, or not a whole one */
  static async open(source: PackageSource): Promise<PackageFile> {
    const { size } = source;
    const tail = LENGTH_BYTES + MAGIC.length;
    if (size < MAGIC.length + tail || !equalBytes(await source.read(0, MAGIC.length), MAGIC))
      throw new MillraceError('E_PACKAGE', 'the file is not a job package');
    const end = await source.read(size - tail, tail);
    const length = new DataView(end.buffer, end.byteOffset).getUint32(0);
    const from = size - tail - length;
    if (!equalBytes(end.subarray(LENGTH_BYTES), MAGIC) || length > MAX_TRAILER_BYTES || from < MAGIC.length)
      throw new MillraceError('E_PACKAGE', 'the job package is not whole: its end is missing');
    let file: PackageFile;
    try {
      const bytes = await source.read(from, length);
      file = new PackageFile(source, parse(trailerSchema, decodeCbor(bytes, 'trailer'), 'trailer'));
    } catch (cause) {
      throw new MillraceError('E_PACKAGE', 'the trailer of the job package cannot be read', { cause });
    }
    if (from !== file.#layout.trailerAt)
      throw new MillraceError('E_PACKAGE', `the job package has ${from} bytes before its trailer`, {
        data: { expected: file.#layout.trailerAt, found: from },
      });
    return file;
  }

  /**
   * Reads the whole package and compares it with what its owner has signed.
   * @param keysHash from the licence
   * @returns hash of every sealed segment, 32 bytes each
   * @throws {MillraceError} E_PACKAGE if anything was altered
   */
  async verify(keysHash: Uint8Array, signal?: AbortSignal): Promise<Bytes> {
    const { core } = this;
    const { hashesAt, keysAt, keysBytes } = this.#layout;
    const hashes = await this.#source.read(hashesAt, core.segments * HASH_BYTES);
    if (!equalBytes(new HashTree(hashes).root, core.hashRoot)) throw altered('hashes');
    if (!equalBytes(sha256(await this.#source.read(keysAt, keysBytes)), keysHash)) throw altered('keys');
    for (let number = 0; number < core.segments; number++) {
      signal?.throwIfAborted();
      const expected = hashes.subarray(number * HASH_BYTES, (number + 1) * HASH_BYTES);
      if (!equalBytes(sha256(await this.segment(number)), expected)) throw altered(`segment ${number}`);
    }
    return hashes;
  }

  /** One sealed segment. */
  segment(number: number): Promise<Bytes> {
    return this.#source.read(MAGIC.length + number * SEGMENT_BYTES, SEGMENT_BYTES);
  }

  /**
   * The design secret, 32 bytes; the caller wipes it.
   * @param key of the package
   * @throws {MillraceError} E_SEAL
   */
  async designSecret(key: Uint8Array): Promise<Bytes> {
    const chunk = await this.#openChunk(key, 0);
    const secret = copyBytes(chunk.subarray(0, KEY_BYTES));
    wipe(chunk);
    return secret;
  }

  /**
   * Content keys of the segments from `from` that are sealed together, 32 bytes each; the caller wipes them.
   * @throws {MillraceError} E_SEAL
   */
  async contentKeys(key: Uint8Array, from: number): Promise<Bytes> {
    const place = from + 1;
    const chunk = await this.#openChunk(key, Math.floor(place / CHUNK_KEYS));
    const keys = copyBytes(chunk.subarray((place % CHUNK_KEYS) * KEY_BYTES));
    wipe(chunk);
    return keys;
  }

  async #openChunk(key: Uint8Array, chunk: number): Promise<Bytes> {
    const { keysAt, keysBytes, chunks } = this.#layout;
    const offset = chunk * (CHUNK_BYTES + TAG_BYTES);
    const length = Math.min(CHUNK_BYTES + TAG_BYTES, keysBytes - offset);
    const sealed = await this.#source.read(keysAt + offset, length);
    const own = chunkKey(key, chunk);
    try {
      return openAes256Gcm(own, ZERO_NONCE, sealed, chunkData(chunk, chunk === chunks - 1));
    } catch (cause) {
      throw new MillraceError('E_SEAL', 'the keys of the job package cannot be opened', { cause });
    } finally {
      wipe(own);
    }
  }
}

function altered(what: string): MillraceError {
  return new MillraceError('E_PACKAGE', `the job package was altered: ${what}`);
}
