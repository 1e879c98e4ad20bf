import { createDecipheriv, type DecipherGCM } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { Transform, type TransformCallback } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createInflateRaw } from 'node:zlib';
import { concatBytes, equalBytes, MillraceError, toMillraceError, utf8, wipe } from '@millrace/base';
import type { ConsumerKey } from '@millrace/machine/agent';
import {
  HEADER,
  KEY_BYTES,
  MAX_CONTENT_BYTES,
  MAX_RATIO,
  MAX_XML_BYTES,
  NAMESPACE,
  PART,
  RATIO_SLACK_BYTES,
  RELATIONSHIP,
  TAG_BYTES,
} from './format.ts';
import { type Resource, resourceIn, samePart, wrappedKey } from './key-store.ts';
import { childrenOf, parseXml } from './xml.ts';
import { type OpenZip, openZip } from './zip.ts';

export interface ThreeMfReader {
  /** As consumer: the name of the machine's key. */
  readonly id: string;
  /** Name of the reader's key. */
  readonly keyId: string;
  readonly key: Pick<ConsumerKey, 'unwrap'>;
}

interface Relationship {
  readonly type: string;
  /** Name of the part, without the first slash. */
  readonly target: string;
}

/**
 * Takes the job package out of a 3MF file (3MF Secure Content 1.0.3).
 * @param file the 3MF file: its path, or its bytes
 * @param target path of a file that may be overwritten; useless if this throws
 * @throws {MillraceError} E_PACKAGE (no such 3MF file, altered, or without a job package), E_PACKAGE_MACHINE and
 *   E_PACKAGE_DRIVER (for other consumers), E_SEAL (the content key does not open), E_TOO_LARGE, E_NOT_FOUND, E_STORE
 */
export async function readThreeMf(file: string | Uint8Array, target: string, reader: ThreeMfReader): Promise<void> {
  const zip = await openZip(file);
  try {
    const root = await relationshipsIn(zip, PART.relationships, '');
    const model = only(root, RELATIONSHIP.model);
    const slash = model.lastIndexOf('/') + 1;
    const folder = model.slice(0, slash);
    const fromModel = await relationshipsIn(zip, `${folder}_rels/${model.slice(slash)}.rels`, folder);
    const job = only(fromModel, RELATIONSHIP.job);
    if (!fromModel.some(({ type, target: part }) => type === RELATIONSHIP.encryptedFile && samePart(part, job)))
      throw new MillraceError('E_PACKAGE', 'the job package in the 3MF file is not encrypted');
    const store = parseXml(await zip.read(only(root, RELATIONSHIP.keyStore), MAX_XML_BYTES), 'the key store');
    const resource = resourceIn(store, `/${job}`);
    await writeContent(zip, job, { resource, key: contentKey(resource, reader), target });
  } finally {
    zip.close();
  }
}

async function relationshipsIn(zip: OpenZip, name: string, folder: string): Promise<Relationship[]> {
  const root = parseXml(await zip.read(name, MAX_XML_BYTES), name);
  if (root.namespace !== NAMESPACE.relationships || root.name !== 'Relationships')
    throw new MillraceError('E_PACKAGE', `${name} of the 3MF file has no relationships`);
  return childrenOf(root, NAMESPACE.relationships, 'Relationship')
    .filter(({ attributes }) => attributes.get('TargetMode') !== 'External')
    .map(({ attributes }) => {
      const to = attributes.get('Target') ?? '';
      return { type: attributes.get('Type') ?? '', target: to.startsWith('/') ? to.slice(1) : `${folder}${to}` };
    });
}

/** The part that a relationship of this type names. */
function only(relationships: readonly Relationship[], type: string): string {
  const [first, ...others] = relationships.filter((relationship) => relationship.type === type);
  if (first === undefined || others.length > 0)
    throw new MillraceError(
      'E_PACKAGE',
      `the 3MF file has ${others.length + (first ? 1 : 0)} parts as ${type}, not one`,
    );
  return first.target;
}

/** Opens the content key with the reader's own access right. */
function contentKey({ rights }: Resource, { id, keyId, key }: ThreeMfReader): Uint8Array {
  const mine = rights.filter(({ consumer }) => consumer.id === id);
  if (mine.length === 0) {
    const found = rights.map(({ consumer }) => consumer.id.slice(0, 64)).slice(0, 8);
    throw new MillraceError('E_PACKAGE_MACHINE', `the 3MF file is for ${found.join(', ') || 'nobody'}, this is ${id}`, {
      data: { expected: found, found: id },
    });
  }
  const right = mine.find(({ consumer }) => consumer.keyId === keyId || consumer.keyId === undefined);
  if (right === undefined)
    throw new MillraceError('E_PACKAGE_DRIVER', `the 3MF file is for another RSA key of this driver, not ${keyId}`);
  const { bytes, hash } = wrappedKey(right.right);
  const opened = key.unwrap(bytes, hash);
  if (opened.length === KEY_BYTES) return opened;
  wipe(opened);
  throw new MillraceError('E_SEAL', `the content key in the 3MF file must have ${KEY_BYTES} bytes`);
}

interface Content {
  readonly resource: Resource;
  readonly key: Uint8Array;
  readonly target: string;
}

async function writeContent(zip: OpenZip, name: string, { resource, key, target }: Content): Promise<void> {
  const { iv, aad, tag, compression } = resource;
  try {
    const { stream, bytes } = await zip.stream(name, MAX_CONTENT_BYTES + HEADER.maxBytes);
    const decipher = createDecipheriv('aes-256-gcm', key, iv, { authTagLength: TAG_BYTES });
    decipher.setAAD(aad);
    decipher.setAuthTag(tag);
    const steps = compression === 'none' ? [] : [createInflateRaw(), limit(bytes * MAX_RATIO + RATIO_SLACK_BYTES)];
    await pipeline([stream, new HeaderReader(), authenticate(decipher), ...steps, createWriteStream(target)]);
  } catch (cause) {
    const known = toMillraceError(cause);
    if (known.code !== 'E_INTERNAL') throw known;
    const isOwn = cause instanceof Error && 'syscall' in cause;
    throw isOwn
      ? new MillraceError('E_STORE', `cannot write ${target}`, { cause })
      : new MillraceError('E_PACKAGE', 'the job package in the 3MF file was altered', { cause });
  } finally {
    wipe(key);
  }
}

/** Fails at the end if the tag does not match. */
function authenticate(decipher: DecipherGCM): Transform {
  return new Transform({
    transform: (chunk, _, done) => done(null, decipher.update(chunk)),
    flush: (done) => {
      try {
        done(null, decipher.final());
      } catch (cause) {
        done(new MillraceError('E_PACKAGE', 'the job package in the 3MF file was altered', { cause }));
      }
    },
  });
}

function limit(most: number): Transform {
  let total = 0;
  return new Transform({
    transform: (chunk: Uint8Array, _, done) => {
      total += chunk.length;
      if (total > most) done(new MillraceError('E_TOO_LARGE', `the 3MF file unpacks to more than ${most} bytes`));
      else done(null, chunk);
    },
  });
}

/** Takes the header off an encrypted part (appendix D). */
class HeaderReader extends Transform {
  #begin: Uint8Array = new Uint8Array();
  #isOver = false;

  override _transform(chunk: Uint8Array, _: BufferEncoding, done: TransformCallback): void {
    if (this.#isOver) return done(null, chunk);
    this.#begin = concatBytes(this.#begin, chunk);
    if (this.#begin.length < HEADER.bytes) return done();
    const length = new DataView(this.#begin.buffer).getUint32(HEADER.bytes - 4, true);
    const fixed = concatBytes(utf8(HEADER.magic), new Uint8Array(3));
    if (!equalBytes(this.#begin.subarray(0, fixed.length), fixed))
      return done(new MillraceError('E_PACKAGE', 'the encrypted part of the 3MF file has no header of version 0.0'));
    if (length < HEADER.bytes || length > HEADER.maxBytes)
      return done(new MillraceError('E_PACKAGE', `the header of the encrypted part says ${length} bytes`));
    if (this.#begin.length < length) return done();
    this.#isOver = true;
    done(null, this.#begin.subarray(length));
  }

  override _flush(done: TransformCallback): void {
    done(
      this.#isOver ? null : new MillraceError('E_PACKAGE', 'the encrypted part of the 3MF file has no whole header'),
    );
  }
}
