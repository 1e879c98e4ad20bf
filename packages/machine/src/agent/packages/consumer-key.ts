import {
  constants,
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type KeyObject,
  privateDecrypt,
} from 'node:crypto';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Bytes, copyBytes, MillraceError, toHex, wipe, writeDurably } from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import { machineFiles } from '../config.ts';
import { readIfThere } from '../files.ts';

// The driver's RSA key, which 3MF Secure Content demands of a consumer. It has no other use (docs/adr/0072).

const MODULUS_BITS = 3_072;

/** Opens content keys of 3MF files that name this driver. */
export interface ConsumerKey {
  readonly publicKey: KeyObject;
  /**
   * Opens a content key. The mask generation function is MGF1 with the same hash.
   * @returns the caller wipes it
   * @throws {MillraceError} E_SEAL
   */
  unwrap(wrapped: Uint8Array, hash: 'sha1' | 'sha256'): Bytes;
}

/** Names a consumer's public key: the first 16 bytes of the SHA-256 of its SubjectPublicKeyInfo, in hexadecimal. */
export function consumerKeyId(publicKey: KeyObject): string {
  return toHex(sha256(new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }))).subarray(0, 16));
}

/** The RSA key of a machine's driver. @throws {MillraceError} E_NOT_FOUND if there is none, E_CONFIG */
export async function readConsumerKey(folder: string): Promise<ConsumerKey> {
  const path = join(folder, machineFiles.consumerKey);
  const secret = await readIfThere(path);
  if (secret === undefined)
    throw new MillraceError('E_NOT_FOUND', 'this driver has no key for 3MF yet: `millrace driver key … --3mf FILE`');
  try {
    return consumerKey(
      createPrivateKey({
        key: Buffer.from(secret.buffer, secret.byteOffset, secret.length),
        format: 'der',
        type: 'pkcs8',
      }),
    );
  } catch (cause) {
    throw new MillraceError('E_CONFIG', `${path} holds no RSA key`, { cause });
  } finally {
    wipe(secret);
  }
}

/** Makes the RSA key of a machine's driver if there is none. */
export async function makeConsumerKey(folder: string): Promise<ConsumerKey> {
  const path = join(folder, machineFiles.consumerKey);
  if ((await readIfThere(path)) === undefined) {
    const { privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: MODULUS_BITS });
    const secret = privateKey.export({ type: 'pkcs8', format: 'der' });
    await writeDurably(path, secret).finally(() => wipe(secret));
  }
  return readConsumerKey(folder);
}

/** @throws {MillraceError} E_INPUT if it is no RSA key */
export function consumerKey(privateKey: KeyObject): ConsumerKey {
  if (privateKey.asymmetricKeyType !== 'rsa') throw new MillraceError('E_INPUT', 'the key of a consumer is an RSA key');
  return {
    publicKey: createPublicKey(privateKey),
    unwrap: (wrapped, oaepHash) => {
      let opened: Buffer | undefined;
      try {
        opened = privateDecrypt({ key: privateKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash }, wrapped);
        return copyBytes(opened);
      } catch (cause) {
        throw new MillraceError('E_SEAL', 'the content key in the 3MF file cannot be opened', { cause });
      } finally {
        if (opened !== undefined) wipe(opened);
      }
    },
  };
}
