import { type Bytes, concatBytes, copyBytes, equalBytes, MillraceError } from '@millrace/base';
import * as crypto from '@millrace/base/crypto';
import { ripemd160 } from '@noble/hashes/legacy.js';
import { sha3_256 } from '@noble/hashes/sha3.js';

// TransferTransactionV1 without mosaics, by Symbol's catbuffer schemas (https://github.com/symbol/symbol,
// catbuffer/schemas/symbol/transfer). Integers are little endian.

/** Fields of a transfer. Everything else in its bytes is constant. */
export interface Transfer {
  /** 32 bytes, Ed25519 (RFC 8032). */
  readonly signer: Uint8Array;
  /** First byte of the network's addresses. */
  readonly network: number;
  /** Maximum fee in the smallest unit of the currency. */
  readonly fee: bigint;
  /** Milliseconds since the network's first block. No later block contains the transaction. */
  readonly deadline: bigint;
  /** 24 bytes. */
  readonly recipient: Uint8Array;
  /** Includes the byte for its type. */
  readonly message: Uint8Array;
}

export interface SignedTransfer extends Transfer {
  /** 64 bytes. */
  readonly signature: Uint8Array;
}

export const ADDRESS_BYTES = 24;
const SIGNATURE_OFFSET = 8;
const SIGNER_OFFSET = 72;
/** Signatures and hashes cover the bytes from here on. */
const SIGNED_OFFSET = 108;
const MESSAGE_OFFSET = 160;
const VERSION = 1;
const TYPE = 0x4154;
export const MAX_MESSAGE = 1024;
export const MAX_TRANSFER: number = MESSAGE_OFFSET + MAX_MESSAGE;

/** Length of a transfer with a message of this length, bytes. Fees are a multiple of it. */
export function transferLength(messageLength: number): number {
  return MESSAGE_OFFSET + messageLength;
}

export function encodeTransfer(transfer: SignedTransfer): Bytes {
  const { signature, signer, network, fee, deadline, recipient, message } = transfer;
  const bytes = new Uint8Array(transferLength(message.length));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  bytes.set(signature, SIGNATURE_OFFSET);
  bytes.set(signer, SIGNER_OFFSET);
  view.setUint8(SIGNED_OFFSET, VERSION);
  view.setUint8(109, network);
  view.setUint16(110, TYPE, true);
  view.setBigUint64(112, fee, true);
  view.setBigUint64(120, deadline, true);
  bytes.set(recipient, 128);
  view.setUint16(152, message.length, true); // the number of mosaics and two reserved fields follow: all zero
  bytes.set(message, MESSAGE_OFFSET);
  return bytes;
}

/** @throws {MillraceError} E_ANCHOR unless it is exactly a transfer of version 1 without mosaics */
export function decodeTransfer(bytes: Uint8Array): SignedTransfer {
  if (bytes.length < MESSAGE_OFFSET || bytes.length > MAX_TRANSFER) throw notATransfer();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const part = (start: number, length: number) => copyBytes(bytes.subarray(start, start + length));
  const transfer = {
    signature: part(SIGNATURE_OFFSET, 64),
    signer: part(SIGNER_OFFSET, 32),
    network: view.getUint8(109),
    fee: view.getBigUint64(112, true),
    deadline: view.getBigUint64(120, true),
    recipient: part(128, ADDRESS_BYTES),
    message: copyBytes(bytes.subarray(MESSAGE_OFFSET)),
  };
  // Constant and reserved fields have one value, so a transfer has one encoding.
  if (!equalBytes(encodeTransfer(transfer), bytes)) throw notATransfer();
  return transfer;
}

/**
 * @param pair the signer's
 * @param seed generation hash seed of the network, 32 bytes: binds the signature to one network
 */
export function signTransfer(
  transfer: Omit<Transfer, 'signer'>,
  pair: ReturnType<typeof crypto.ed25519Pair>,
  seed: Uint8Array,
): Bytes {
  const unsigned = { ...transfer, signer: pair.publicKey, signature: new Uint8Array(64) };
  const signature = pair.sign(concatBytes(seed, encodeTransfer(unsigned).subarray(SIGNED_OFFSET)));
  return encodeTransfer({ ...unsigned, signature });
}

export function isSigned(bytes: Uint8Array, { signer, signature }: SignedTransfer, seed: Uint8Array): boolean {
  return crypto.verifyEd25519(signer, concatBytes(seed, bytes.subarray(SIGNED_OFFSET)), signature);
}

/** The hash that names a transaction on its network, 32 bytes. */
export function transferHash(bytes: Uint8Array, seed: Uint8Array): Bytes {
  const names = bytes.subarray(SIGNATURE_OFFSET, SIGNER_OFFSET + 32);
  return sha3(names, seed, bytes.subarray(SIGNED_OFFSET));
}

/** The address of a public key: network, RIPEMD-160 of SHA3-256 of the key, checksum. 24 bytes. */
export function addressOf(publicKey: Uint8Array, network: number): Bytes {
  const body = concatBytes(Uint8Array.of(network), ripemd160(sha3(publicKey)));
  return concatBytes(body, sha3(body).subarray(0, 3));
}

const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** Base32 (RFC 4648) without padding, 39 characters. */
export function formatAddress(address: Uint8Array): string {
  let text = '';
  let [bits, value] = [0, 0];
  for (const byte of [...address, 0]) {
    value = ((value << 8) | byte) & 0xfff;
    for (bits += 8; bits >= 5; bits -= 5) text += BASE32[(value >> (bits - 5)) & 31];
  }
  return text.slice(0, 39);
}

/** SHA3-256 over all parts. */
export function sha3(...parts: readonly Uint8Array[]): Bytes {
  return copyBytes(sha3_256(concatBytes(...parts)));
}

function notATransfer(): MillraceError {
  return new MillraceError('E_ANCHOR', 'the anchor’s proof holds no Symbol transfer');
}
