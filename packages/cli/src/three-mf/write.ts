import { type CipherGCM, constants, createCipheriv, createPublicKey, type KeyObject, publicEncrypt } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream as WebStream } from 'node:stream/web';
import {
  type Bytes,
  concatBytes,
  copyBytes,
  MillraceError,
  type RandomSource,
  toHex,
  toMillraceError,
  utf8,
  wipe,
} from '@millrace/base';
import { consumerKeyId } from '@millrace/machine/agent';
import type { PackageSource } from '@millrace/vault';
import { makeZip } from 'client-zip';
import {
  CONTENT_TYPE,
  HEADER,
  IV_BYTES,
  KEY_BYTES,
  MAX_CONTENT_BYTES,
  NAMESPACE,
  PART,
  RELATIONSHIP,
  TAG_BYTES,
} from './format.ts';
import { keyStoreXml } from './key-store.ts';

const CHUNK_BYTES = 1_048_576;
/** Says what was encrypted, so that no other part of this key can take its place. */
const AAD = utf8(CONTENT_TYPE.job);
/** The modification time of the parts: a file says nothing about when it was made. */
const MODIFIED = new Date(1980, 0, 1);
const MODULUS_BITS = { least: 2_048, most: 16_384 };

export interface ThreeMfConsumer {
  /** Alphanumeric. */
  readonly id: string;
  readonly publicKey: KeyObject;
}

/** Reads the RSA key of a consumer. @throws {MillraceError} E_INPUT */
export function readConsumerPublicKey(pem: string): KeyObject {
  let key: KeyObject | undefined;
  try {
    key = pem.includes('PRIVATE KEY') ? undefined : createPublicKey(pem);
  } catch {
    // it is no key
  }
  const bits = key?.asymmetricKeyType === 'rsa' ? (key.asymmetricKeyDetails?.modulusLength ?? 0) : 0;
  if (key === undefined || bits < MODULUS_BITS.least || bits > MODULUS_BITS.most)
    throw new MillraceError('E_INPUT', 'the key of a consumer must be a public RSA key of 2048 bits or more, in PEM');
  return key;
}

/**
 * Writes a job package into a new 3MF file, as its one encrypted part (3MF Secure Content 1.0.3).
 * @param path of a file that may be overwritten
 * @throws {MillraceError} E_TOO_LARGE, E_STORE
 */
export async function writeThreeMf(
  path: string,
  source: PackageSource,
  consumer: ThreeMfConsumer,
  random: RandomSource,
): Promise<void> {
  if (source.size > MAX_CONTENT_BYTES)
    throw new MillraceError('E_TOO_LARGE', `a part of a 3MF file has at most ${MAX_CONTENT_BYTES} bytes`);
  try {
    const parts = partsOf(source, consumer, random);
    await pipeline(Readable.fromWeb(makeZip(parts) as WebStream), createWriteStream(path));
  } catch (cause) {
    const known = toMillraceError(cause);
    throw known.code === 'E_INTERNAL' ? new MillraceError('E_STORE', `cannot write ${path}`, { cause }) : known;
  }
}

/** The parts in the order in which they are written: the key store last, because it has the tag of what is encrypted. */
async function* partsOf(source: PackageSource, { id, publicKey }: ThreeMfConsumer, random: RandomSource) {
  yield part(PART.contentTypes, contentTypes());
  yield part(PART.relationships, rootRelationships());
  yield part(PART.model, model());
  yield part(PART.modelRelationships, modelRelationships());
  const key = random(KEY_BYTES);
  try {
    const iv = random(IV_BYTES);
    const cipher = createCipheriv('aes-256-gcm', key, iv, { authTagLength: TAG_BYTES });
    cipher.setAAD(AAD);
    yield part(PART.job, encrypted(source, cipher));
    const oaep = { key: publicKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' };
    const store = keyStoreXml({
      uuid: uuid(random),
      consumer: { id, keyId: consumerKeyId(publicKey), publicKey: pemOf(publicKey) },
      keyUuid: uuid(random),
      wrapped: publicEncrypt(oaep, key),
      path: `/${PART.job}`,
      iv,
      tag: cipher.getAuthTag(),
      aad: AAD,
    });
    yield part(PART.keyStore, store);
  } finally {
    wipe(key);
  }
}

const part = <T>(name: string, input: T) => ({ name, input, lastModified: MODIFIED });

async function* encrypted(source: PackageSource, cipher: CipherGCM): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  yield header();
  for (let offset = 0; offset < source.size; offset += CHUNK_BYTES)
    yield copyBytes(cipher.update(await source.read(offset, Math.min(CHUNK_BYTES, source.size - offset))));
  cipher.final();
}

function header(): Bytes {
  const rest = new Uint8Array(HEADER.bytes - HEADER.magic.length);
  new DataView(rest.buffer).setUint32(rest.length - 4, HEADER.bytes, true);
  return concatBytes(utf8(HEADER.magic), rest);
}

/** A random UUID (RFC 4122, version 4). */
function uuid(random: RandomSource): string {
  const bytes = random(16);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  return toHex(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

const pemOf = (key: KeyObject): string => key.export({ type: 'spki', format: 'pem' }).toString();

const XML = '<?xml version="1.0" encoding="UTF-8"?>\n';

const contentTypes = (): string => `${XML}<Types xmlns="${NAMESPACE.contentTypes}">
  <Default Extension="rels" ContentType="${CONTENT_TYPE.relationships}"/>
  <Default Extension="model" ContentType="${CONTENT_TYPE.model}"/>
  <Default Extension="mrjob" ContentType="${CONTENT_TYPE.job}"/>
  <Override PartName="/${PART.keyStore}" ContentType="${CONTENT_TYPE.keyStore}"/>
</Types>
`;

const rootRelationships = (): string =>
  relationships([
    [RELATIONSHIP.model, PART.model],
    [RELATIONSHIP.keyStore, PART.keyStore],
    [RELATIONSHIP.mustPreserve, PART.keyStore],
  ]);

const modelRelationships = (): string =>
  relationships([
    [RELATIONSHIP.job, PART.job],
    [RELATIONSHIP.encryptedFile, PART.job],
    [RELATIONSHIP.mustPreserve, PART.job],
  ]);

function relationships(all: readonly (readonly [type: string, part: string])[]): string {
  const lines = all.map(([type, part], at) => `  <Relationship Id="rel${at}" Type="${type}" Target="/${part}"/>`);
  return `${XML}<Relationships xmlns="${NAMESPACE.relationships}">\n${lines.join('\n')}\n</Relationships>\n`;
}

/** An empty model that requires Secure Content: other programs say so instead of showing an empty build plate. */
const model = (): string => `${XML}<model xmlns="${NAMESPACE.core}" xmlns:sc="${NAMESPACE.secureContent}"
  unit="millimeter" xml:lang="en-US" requiredextensions="sc">
  <resources/>
  <build/>
</model>
`;
