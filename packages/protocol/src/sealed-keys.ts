import { type Bytes, concatBytes, fromHex, MillraceError, utf8 } from '@millrace/base';
import { type AgreementKey, keyId, seal, unsealByAgreement } from '@millrace/identity';

// Secrets that an owner seals, and the context of each sealed message (spec/protocol.md, "Sealed keys").

/** Context of a design's content keys, sealed to the keys node. It includes the owner's key. */
export function contentKeysInfo(design: string, owner: Uint8Array): Bytes {
  return concatBytes(utf8('millrace/v1/content-keys/'), fromHex(design), owner);
}

/** Context of a licence's secret, sealed to the keys node. */
export function licenceSecretInfo(design: string, owner: Uint8Array): Bytes {
  return concatBytes(utf8('millrace/v1/licence-secret/'), fromHex(design), owner);
}

/** enc(65) ‖ secret(32) ‖ tag(16). */
export const SEALED_SECRET_BYTES = 113;

/** One licence, one design and one machine of one installation. All names are hexadecimal. */
export interface SecretBinding {
  readonly installation: string;
  readonly licence: string;
  readonly design: string;
}

function designSecretInfo({ installation, licence, design }: SecretBinding, machine: Uint8Array): Bytes {
  return concatBytes(
    utf8('millrace/v1/design-secret/'),
    fromHex(installation),
    fromHex(licence),
    fromHex(design),
    keyId(machine),
  );
}

/** Owner: seals the design secret to one machine of the licence. */
export function sealDesignSecret(
  machine: { readonly publicKey: Uint8Array },
  binding: SecretBinding,
  secret: Uint8Array,
): Promise<Bytes> {
  return seal(machine.publicKey, designSecretInfo(binding, machine.publicKey), secret);
}

/** Machine: opens the design secret, 32 bytes. The caller wipes it. @throws {MillraceError} E_SEAL */
export async function openDesignSecret(key: AgreementKey, binding: SecretBinding, sealed: Uint8Array): Promise<Bytes> {
  const secret = await unsealByAgreement(key, designSecretInfo(binding, key.publicKey), sealed);
  if (secret.length !== 32) throw new MillraceError('E_SEAL', 'a design secret has 32 bytes');
  return secret;
}

function envelopeKeyInfo({ installation, licence, design }: SecretBinding, machine: Uint8Array): Bytes {
  const label = utf8('millrace/v1/envelope-key/');
  return concatBytes(label, fromHex(installation), fromHex(licence), fromHex(design), keyId(machine));
}

/** Owner: seals the key of the design's envelope to a machine that does not get the design secret from the licence. */
export function sealEnvelopeKey(
  machine: { readonly publicKey: Uint8Array },
  binding: SecretBinding,
  envelopeKey: Uint8Array,
): Promise<Bytes> {
  return seal(machine.publicKey, envelopeKeyInfo(binding, machine.publicKey), envelopeKey);
}

/** Machine: opens the key of the envelope, 32 bytes. The caller wipes it. @throws {MillraceError} E_SEAL */
export async function openEnvelopeKey(key: AgreementKey, binding: SecretBinding, sealed: Uint8Array): Promise<Bytes> {
  const envelopeKey = await unsealByAgreement(key, envelopeKeyInfo(binding, key.publicKey), sealed);
  if (envelopeKey.length !== 32) throw new MillraceError('E_SEAL', 'the key of an envelope has 32 bytes');
  return envelopeKey;
}

/** One design and one recipient of one installation. All names are hexadecimal. */
export interface ShareBinding {
  readonly installation: string;
  readonly design: string;
  /** Key name of the recipient. */
  readonly key: string;
}

function shareInfo({ installation, design, key }: ShareBinding): Bytes {
  return concatBytes(utf8('millrace/v1/design-share/'), fromHex(installation), fromHex(design), fromHex(key));
}

/** Seals the key of a design's private part to the sealing key of another designer. */
export function sealShare(recipient: Uint8Array, binding: ShareBinding, partKey: Uint8Array): Promise<Bytes> {
  return seal(recipient, shareInfo(binding), partKey);
}

/** The key of a private part, 32 bytes; the caller wipes it. @throws {MillraceError} E_SEAL */
export async function openShare(key: AgreementKey, binding: ShareBinding, sealed: Uint8Array): Promise<Bytes> {
  const partKey = await unsealByAgreement(key, shareInfo(binding), sealed);
  if (partKey.length !== 32) throw new MillraceError('E_SEAL', 'the key of a private part has 32 bytes');
  return partKey;
}

/**
 * Opens a message from a sender with several keys, as during a rotation, by trying each key.
 * @throws {MillraceError} the error of the last try, E_SEAL
 */
export async function openBySome<K, T>(senders: readonly K[], open: (sender: K) => Promise<T>): Promise<T> {
  let last: unknown;
  for (const sender of senders) {
    try {
      return await open(sender);
    } catch (error) {
      last = error;
    }
  }
  throw last;
}
