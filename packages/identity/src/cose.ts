import { type Bytes, concatBytes, copyBytes, decodeCborMap, encodeCbor, MillraceError } from '@millrace/base';

/** COSE algorithm numbers (RFC 9053, RFC 8812). */
export const algorithms = { ES256: -7, EdDSA: -8, ES256K: -47 } as const;
export type Algorithm = keyof typeof algorithms;

/** Creates a 64-byte signature over `message`. The key may be in a file, an HSM or a browser. */
export interface Signer {
  readonly algorithm: Algorithm;
  /** Public key: 33 bytes compressed (ES256K), 65 bytes uncompressed (ES256), 32 bytes (EdDSA). */
  readonly publicKey: Bytes;
  sign(message: Uint8Array): Promise<Bytes>;
}

/** Verifies a signature of one algorithm. Returns false for malformed input. */
export type Verify = (
  algorithm: Algorithm,
  publicKey: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
) => boolean;

/** A parsed COSE_Sign1 whose signature has NOT been checked yet. */
export interface Sign1 {
  readonly algorithm: Algorithm;
  readonly keyId: Bytes;
  readonly payload: Bytes;
  readonly signature: Bytes;
  readonly protectedHeader: Bytes;
}

const SIGN1_TAG = 0xd2; // CBOR tag 18, COSE_Sign1_Tagged
const HEADER_ALGORITHM = 1;
const HEADER_KEY_ID = 4;

/**
 * COSE_Sign1 (RFC 9052, 4.2) in deterministic CBOR: protected header {1: algorithm, 4: key id}, empty unprotected
 * header.
 * @param context external_aad: the purpose of the signature, so that it is valid for no other
 */
export async function sign1(
  signer: Signer,
  keyId: Uint8Array,
  payload: Uint8Array,
  context: Uint8Array,
): Promise<Bytes> {
  const protectedHeader = encodeCbor(
    new Map<number, number | Uint8Array>([
      [HEADER_ALGORITHM, algorithms[signer.algorithm]],
      [HEADER_KEY_ID, keyId],
    ]),
  );
  const signature = await signer.sign(toBeSigned(protectedHeader, payload, context));
  return concatBytes(new Uint8Array([SIGN1_TAG]), encodeCbor([protectedHeader, {}, payload, signature]));
}

/** @throws {MillraceError} E_SIGNATURE unless the bytes are a COSE_Sign1 as written by `sign1` */
export function parseSign1(bytes: Uint8Array): Sign1 {
  const malformed = (why: string) => new MillraceError('E_SIGNATURE', `signed message: ${why}`);
  if (bytes[0] !== SIGN1_TAG) throw malformed('not a COSE_Sign1');
  const parts = decodeCborMap(bytes.subarray(1), 'signed message', 'E_SIGNATURE');
  if (!Array.isArray(parts) || parts.length !== 4) throw malformed('not four parts');
  const [protectedHeader, unprotected, payload, signature] = parts as unknown[];
  if (!(protectedHeader instanceof Uint8Array && payload instanceof Uint8Array && signature instanceof Uint8Array)) {
    throw malformed('parts of the wrong type');
  }
  if (!(unprotected instanceof Map) || unprotected.size !== 0) throw malformed('an unprotected header');
  if (signature.length !== 64) throw malformed('a signature that is not 64 bytes');
  const header = decodeCborMap(protectedHeader, 'signed message header', 'E_SIGNATURE');
  if (!(header instanceof Map) || header.size !== 2) throw malformed('an unknown header');
  const keyId: unknown = header.get(HEADER_KEY_ID);
  const number: unknown = header.get(HEADER_ALGORITHM);
  const algorithm = (Object.keys(algorithms) as Algorithm[]).find((name) => algorithms[name] === number);
  if (algorithm === undefined || !(keyId instanceof Uint8Array)) throw malformed('an unknown algorithm');
  return {
    algorithm,
    keyId: copyBytes(keyId),
    payload: copyBytes(payload),
    signature: copyBytes(signature),
    protectedHeader: copyBytes(protectedHeader),
  };
}

/** @throws {MillraceError} E_SIGNATURE unless this key signed this payload in this context */
export function verifySign1(
  message: Sign1,
  algorithm: Algorithm,
  publicKey: Uint8Array,
  context: Uint8Array,
  verify: Verify,
): void {
  const signed = toBeSigned(message.protectedHeader, message.payload, context);
  if (message.algorithm !== algorithm || !verify(algorithm, publicKey, signed, message.signature)) {
    throw new MillraceError('E_SIGNATURE', 'the signature is not valid');
  }
}

function toBeSigned(protectedHeader: Uint8Array, payload: Uint8Array, context: Uint8Array): Bytes {
  return encodeCbor(['Signature1', protectedHeader, context, payload]);
}
