import { Aes256Gcm, CipherSuite, DhkemP256HkdfSha256, HkdfSha256 } from '@hpke/core';
import { type Bytes, concatBytes, copyBytes, MillraceError } from '@millrace/base';
import type { P256Key } from './keys.ts';

/** HPKE (RFC 9180): DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. */
const suiteWith = (kem: DhkemP256HkdfSha256) => new CipherSuite({ kem, kdf: new HkdfSha256(), aead: new Aes256Gcm() });
const suite = suiteWith(new DhkemP256HkdfSha256());
const ENCAPSULATED_BYTES = 65;
/** Overhead of a sealed message, bytes. */
export const SEAL_BYTES = ENCAPSULATED_BYTES + 16;

type HpkeKey = Awaited<ReturnType<typeof suite.kem.deserializePublicKey>>;
const importPublic = (point: Uint8Array): Promise<HpkeKey> => suite.kem.deserializePublicKey(copyBytes(point).buffer);

async function importPair(key: P256Key): Promise<{ publicKey: HpkeKey; privateKey: HpkeKey }> {
  const secret = key.exportSecret();
  try {
    return {
      publicKey: await importPublic(key.publicKey),
      privateKey: await suite.kem.deserializePrivateKey(secret.buffer),
    };
  } finally {
    secret.fill(0);
  }
}

/** A P-256 key that may be in a token. It agrees and is never exported. */
export interface AgreementKey {
  /** Uncompressed point, 65 bytes. */
  readonly publicKey: Uint8Array;
  /** The x coordinate of the shared point, 32 bytes. */
  agree(peer: Uint8Array): Promise<Bytes>;
}

/** The same KEM with a private key outside the process. */
class AgreementKem extends DhkemP256HkdfSha256 {
  constructor(key: AgreementKey) {
    super();
    const primitives = this._prim;
    this._prim = Object.create(primitives, {
      dh: {
        value: async (_secret: unknown, peer: HpkeKey) =>
          (await key.agree(new Uint8Array(await primitives.serializePublicKey(peer)))).buffer,
      },
    });
  }
}

const failed = (cause: unknown) => new MillraceError('E_SEAL', 'the sealed message cannot be opened', { cause });

/**
 * Seals one message to `recipient` (65-byte point); with `sender` in auth mode. Output: enc(65) ‖ ciphertext ‖ tag(16).
 */
export async function seal(
  recipient: Uint8Array,
  info: Uint8Array,
  plaintext: Uint8Array,
  options: { sender?: P256Key } = {},
): Promise<Bytes> {
  const context = await suite.createSenderContext({
    recipientPublicKey: await importPublic(recipient),
    info: copyBytes(info).buffer,
    ...(options.sender === undefined ? {} : { senderKey: await importPair(options.sender) }),
  });
  const ciphertext = await context.seal(copyBytes(plaintext).buffer);
  return concatBytes(new Uint8Array(context.enc), new Uint8Array(ciphertext));
}

/** @throws {MillraceError} E_SEAL if altered, sealed to another key, for another purpose, or by another sender */
export async function unseal(
  recipient: P256Key,
  info: Uint8Array,
  sealed: Uint8Array,
  options: { sender?: Uint8Array } = {},
): Promise<Bytes> {
  try {
    const context = await suite.createRecipientContext({
      recipientKey: await importPair(recipient),
      enc: copyBytes(sealed.subarray(0, ENCAPSULATED_BYTES)).buffer,
      info: copyBytes(info).buffer,
      ...(options.sender === undefined ? {} : { senderPublicKey: await importPublic(options.sender) }),
    });
    return new Uint8Array(await context.open(copyBytes(sealed.subarray(ENCAPSULATED_BYTES)).buffer));
  } catch (cause) {
    throw failed(cause);
  }
}

/**
 * Opens a message sealed to a key that may be in a token (base mode).
 * @throws {MillraceError} E_SEAL if altered, sealed to another key or for another purpose
 */
export async function unsealByAgreement(key: AgreementKey, info: Uint8Array, sealed: Uint8Array): Promise<Bytes> {
  try {
    const publicKey = await importPublic(key.publicKey);
    const context = await suiteWith(new AgreementKem(key)).createRecipientContext({
      // The private key is a placeholder: the KEM above uses the key itself.
      recipientKey: { publicKey, privateKey: publicKey },
      enc: copyBytes(sealed.subarray(0, ENCAPSULATED_BYTES)).buffer,
      info: copyBytes(info).buffer,
    });
    return new Uint8Array(await context.open(copyBytes(sealed.subarray(ENCAPSULATED_BYTES)).buffer));
  } catch (cause) {
    throw failed(cause);
  }
}

/** One direction of a session. Messages are sealed, and can be opened, only in order. */
export interface HpkeSender {
  /** Encapsulated key, 65 bytes, for the recipient. */
  readonly enc: Bytes;
  seal(plaintext: Uint8Array, associated: Uint8Array): Promise<Bytes>;
}

export interface HpkeRecipient {
  /** @throws {MillraceError} E_SEAL */
  open(sealed: Uint8Array, associated: Uint8Array): Promise<Bytes>;
}

/** A pre-shared secret mixed in by both ends (RFC 9180, mode_auth_psk), at least 32 bytes. */
export interface PreShared {
  readonly id: Uint8Array;
  readonly key: Uint8Array;
}

/** @param sender authenticates the sender: the recipient must use the same key */
export async function createHpkeSender(
  recipient: Uint8Array,
  info: Uint8Array,
  psk: PreShared,
  sender: P256Key,
): Promise<HpkeSender> {
  const context = await suite.createSenderContext({
    recipientPublicKey: await importPublic(recipient),
    senderKey: await importPair(sender),
    info: copyBytes(info).buffer,
    psk: { id: copyBytes(psk.id).buffer, key: copyBytes(psk.key).buffer },
  });
  return {
    enc: new Uint8Array(context.enc),
    seal: async (plaintext, associated) =>
      new Uint8Array(await context.seal(copyBytes(plaintext).buffer, copyBytes(associated).buffer)),
  };
}

/**
 * @param sender the key that authenticates the messages
 * @throws {MillraceError} E_SEAL if `enc` is not a point on the curve
 */
export async function createHpkeRecipient(
  recipient: P256Key,
  enc: Uint8Array,
  info: Uint8Array,
  psk: PreShared,
  sender: Uint8Array,
): Promise<HpkeRecipient> {
  try {
    const context = await suite.createRecipientContext({
      recipientKey: await importPair(recipient),
      senderPublicKey: await importPublic(sender),
      enc: copyBytes(enc).buffer,
      info: copyBytes(info).buffer,
      psk: { id: copyBytes(psk.id).buffer, key: copyBytes(psk.key).buffer },
    });
    return {
      open: async (sealed, associated) => {
        try {
          return new Uint8Array(await context.open(copyBytes(sealed).buffer, copyBytes(associated).buffer));
        } catch (cause) {
          throw failed(cause);
        }
      },
    };
  } catch (cause) {
    throw failed(cause);
  }
}
