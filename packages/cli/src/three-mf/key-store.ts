import { type Bytes, fromBase64, MillraceError, toBase64 } from '@millrace/base';
import { ALGORITHM, IV_BYTES, NAMESPACE, TAG_BYTES } from './format.ts';
import { childrenOf, type Element } from './xml.ts';

/** A consumer, by its identifier and the name of its key. */
export interface Consumer {
  readonly id: string;
  readonly keyId: string | undefined;
}

/** What the key store says about one encrypted part. */
export interface Resource {
  readonly keyUuid: string;
  readonly iv: Bytes;
  readonly tag: Bytes;
  readonly aad: Bytes;
  readonly compression: 'none' | 'deflate';
  /** The consumers that may read it, with its content key wrapped for each. */
  readonly rights: readonly { readonly consumer: Consumer; readonly right: Element }[];
}

export interface WrappedKey {
  readonly bytes: Bytes;
  readonly hash: 'sha1' | 'sha256';
}

const UUID = /^[a-f0-9]{8}(-[a-f0-9]{4}){3}-[a-f0-9]{12}$/i;

/**
 * What the key store says about the part at `path`. Parts and consumers that are not asked for are not judged.
 * @throws {MillraceError} E_PACKAGE
 */
export function resourceIn(root: Element, path: string): Resource {
  if (root.namespace !== NAMESPACE.secureContent || root.name !== 'keystore')
    throw refusal('its root is not a keystore');
  if (!UUID.test(root.attributes.get('UUID') ?? '')) throw refusal('it has no UUID');
  const consumers = secure(root, 'consumer').map((element) => ({
    id: required(element, 'consumerid'),
    keyId: element.attributes.get('keyid'),
  }));
  if (new Set(consumers.map(({ id, keyId }) => `${id} ${keyId}`)).size !== consumers.length)
    throw refusal('it names a consumer twice');
  const found = secure(root, 'resourcedatagroup').flatMap((group) =>
    secure(group, 'resourcedata')
      .filter((resource) => samePart(required(resource, 'path'), path))
      .map((resource) => ({ group, resource })),
  );
  const [only, ...others] = found;
  if (only === undefined || others.length > 0) throw refusal(`it names ${path} ${found.length} times`);
  const keyUuid = required(only.group, 'keyuuid');
  if (!UUID.test(keyUuid)) throw refusal('keyuuid is not a UUID');
  const rights = secure(only.group, 'accessright').map((right) => {
    const index = required(right, 'consumerindex');
    const consumer = /^\d{1,10}$/.test(index) ? consumers[Number(index)] : undefined;
    if (consumer === undefined) throw refusal(`there is no consumer ${index}`);
    return { consumer, right };
  });
  return { keyUuid, rights, ...contentOf(single(only.resource, 'cekparams')) };
}

function contentOf(parameters: Element): Pick<Resource, 'iv' | 'tag' | 'aad' | 'compression'> {
  if (required(parameters, 'encryptionalgorithm') !== ALGORITHM.aes256Gcm)
    throw refusal('the content is not encrypted with AES-256-GCM');
  const compression = parameters.attributes.get('compression') ?? 'none';
  if (compression !== 'none' && compression !== 'deflate') throw refusal(`the compression ${compression} is not known`);
  const [aad] = secure(parameters, 'aad');
  return {
    iv: binary(single(parameters, 'iv'), IV_BYTES),
    tag: binary(single(parameters, 'tag'), TAG_BYTES),
    aad: aad === undefined ? new Uint8Array() : binary(aad),
    compression,
  };
}

/** The content key of an access right, and how it is wrapped. @throws {MillraceError} E_PACKAGE */
export function wrappedKey(right: Element): WrappedKey {
  const [data, ...others] = childrenOf(single(right, 'cipherdata'), NAMESPACE.encryption, 'CipherValue');
  if (data === undefined || others.length > 0) throw refusal('an access right has no content key');
  return { bytes: binary(data), hash: hashOf(single(right, 'kekparams')) };
}

/** One hash for the digest and the mask, as the specification demands of producers. */
function hashOf(parameters: Element): 'sha1' | 'sha256' {
  const wrapping = required(parameters, 'wrappingalgorithm');
  const mask = parameters.attributes.get('mgfalgorithm') ?? ALGORITHM.mgf1Sha1;
  const digest = parameters.attributes.get('digestmethod') ?? ALGORITHM.sha1;
  const usual = mask === ALGORITHM.mgf1Sha1 && digest === ALGORITHM.sha1;
  if (usual && (wrapping === ALGORITHM.rsaOaep || wrapping === ALGORITHM.rsaOaepMgf1p)) return 'sha1';
  if (wrapping === ALGORITHM.rsaOaep && mask === ALGORITHM.mgf1Sha256 && digest === ALGORITHM.sha256) return 'sha256';
  throw refusal(`the content key is wrapped with ${wrapping}, ${mask}, ${digest}, which are not supported`);
}

export interface NewKeyStore {
  readonly uuid: string;
  readonly consumer: { readonly id: string; readonly keyId: string; readonly publicKey: string };
  readonly keyUuid: string;
  /** Under RSA-OAEP with SHA-256. */
  readonly wrapped: Uint8Array;
  /** Path of the encrypted part. */
  readonly path: string;
  readonly iv: Uint8Array;
  readonly tag: Uint8Array;
  readonly aad: Uint8Array;
}

/** The key store of a file with one consumer and one encrypted part. Its values need no escapes in XML. */
export function keyStoreXml({ uuid, consumer, keyUuid, wrapped, path, iv, tag, aad }: NewKeyStore): string {
  return `<?xml version="1.0" encoding="UTF-8"?>
<keystore xmlns="${NAMESPACE.secureContent}" xmlns:xenc="${NAMESPACE.encryption}" UUID="${uuid}">
  <consumer consumerid="${consumer.id}" keyid="${consumer.keyId}">
    <keyvalue>${consumer.publicKey}</keyvalue>
  </consumer>
  <resourcedatagroup keyuuid="${keyUuid}">
    <accessright consumerindex="0">
      <kekparams wrappingalgorithm="${ALGORITHM.rsaOaep}" mgfalgorithm="${ALGORITHM.mgf1Sha256}" digestmethod="${ALGORITHM.sha256}"/>
      <cipherdata>
        <xenc:CipherValue>${toBase64(wrapped)}</xenc:CipherValue>
      </cipherdata>
    </accessright>
    <resourcedata path="${path}">
      <cekparams encryptionalgorithm="${ALGORITHM.aes256Gcm}" compression="none">
        <iv>${toBase64(iv)}</iv>
        <tag>${toBase64(tag)}</tag>
        <aad>${toBase64(aad)}</aad>
      </cekparams>
    </resourcedata>
  </resourcedatagroup>
</keystore>
`;
}

/** Part names are compared without regard to case (OPC). */
export const samePart = (one: string, other: string): boolean => one.toLowerCase() === other.toLowerCase();

const secure = (element: Element, name: string) => childrenOf(element, NAMESPACE.secureContent, name);

function single(element: Element, name: string): Element {
  const [only, ...others] = secure(element, name);
  if (only === undefined || others.length > 0) throw refusal(`${element.name} must have one ${name}`);
  return only;
}

function required(element: Element, name: string): string {
  const value = element.attributes.get(name);
  if (value === undefined) throw refusal(`${element.name} has no ${name}`);
  return value;
}

function binary({ name, text }: Element, length?: number): Bytes {
  let bytes: Bytes;
  try {
    bytes = fromBase64(text.replace(/\s/g, ''));
  } catch (cause) {
    throw refusal(`${name} is not base64`, cause);
  }
  if (length !== undefined && bytes.length !== length) throw refusal(`${name} must have ${length} bytes`);
  return bytes;
}

/** @param why may contain long values from the file */
function refusal(why: string, cause?: unknown): MillraceError {
  return new MillraceError('E_PACKAGE', `cannot use the key store of the 3MF file: ${why.slice(0, 300)}`, { cause });
}
