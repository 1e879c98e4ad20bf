import {
  type Bytes,
  concatBytes,
  copyBytes,
  equalBytes,
  fromBase64,
  fromHex,
  MillraceError,
  toBase64,
  toHex,
  utf8,
} from '@millrace/base';
import * as crypto from '@millrace/base/crypto';
import { sha256 } from '@millrace/base/crypto';

/** Signature types of C2SP signed-note used here. */
export const noteTypes = { ed25519: 0x01, cosignature: 0x04 } as const;

const MAX_NOTE_LENGTH = 1_000_000;
const MAX_SIGNATURES = 100;
const SIGNATURE_LENGTH = 64;

/** Signs notes with Ed25519. The key may be outside this process. */
export interface NoteSigner {
  readonly name: string;
  /** 32 bytes, RFC 8032. */
  readonly publicKey: Uint8Array;
  /** @returns a 64-byte signature over exactly these bytes */
  sign(bytes: Uint8Array): Promise<Uint8Array> | Uint8Array;
}

/** A trusted key: the parts of a verifier key string. */
export interface VerifierKey {
  readonly name: string;
  /** 0x01 Ed25519, 0x04 cosignature/v1. */
  readonly type: number;
  /** First 4 bytes of SHA-256(name ‖ 0x0A ‖ type ‖ public key). */
  readonly id: Bytes;
  readonly publicKey: Bytes;
}

export interface NoteSignature {
  readonly name: string;
  readonly id: Bytes;
  readonly signature: Bytes;
}

export interface Note {
  /** The signed text, including its last newline. */
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
}

export function noteKeyId(name: string, type: number, publicKey: Uint8Array): Bytes {
  return copyBytes(sha256(concatBytes(utf8(name), Uint8Array.of(0x0a, type), publicKey)).subarray(0, 4));
}

/** `<name>+<key id in hex>+<base64(type ‖ public key)>`. */
export function formatVerifierKey(name: string, publicKey: Uint8Array, type: number = noteTypes.ed25519): string {
  requireKeyName(name);
  const material = toBase64(concatBytes(Uint8Array.of(type), publicKey));
  return `${name}+${toHex(noteKeyId(name, type, publicKey))}+${material}`;
}

/** @throws {MillraceError} E_INPUT unless it is a verifier key of type 0x01 or 0x04 with a matching key id */
export function parseVerifierKey(text: string): VerifierKey {
  const match = /^([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})$/.exec(text);
  const [, name = '', id = '', encoded = ''] = match ?? [];
  const material = base64(encoded);
  if (match === null || !isKeyName(name) || material === undefined || material.length !== 33) throw notAVerifierKey();
  const type = material[0] ?? 0;
  const publicKey = copyBytes(material.subarray(1));
  if (type !== noteTypes.ed25519 && type !== noteTypes.cosignature) throw notAVerifierKey();
  if (!equalBytes(noteKeyId(name, type, publicKey), fromHex(id))) throw notAVerifierKey();
  return { name, type, id: fromHex(id), publicKey };
}

function notAVerifierKey(): MillraceError {
  return new MillraceError('E_INPUT', 'not a verifier key: expected name+hash+base64 of an Ed25519 key');
}

/** An in-memory signer from the 32 secret bytes of RFC 8032, which the caller may wipe afterwards. */
export function ed25519NoteSigner(name: string, secret: Uint8Array): NoteSigner {
  requireKeyName(name);
  if (secret.length !== 32) throw new MillraceError('E_INPUT', 'an Ed25519 secret has 32 bytes');
  return { name, ...crypto.ed25519Pair(secret) };
}

/** @throws {MillraceError} E_INPUT if the key name is not allowed in a note */
export function requireKeyName(name: string): void {
  if (!isKeyName(name))
    throw new MillraceError('E_INPUT', 'a key name has no spaces, no plus and no control characters');
}

function isKeyName(name: string): boolean {
  return name.length > 0 && !/[\p{White_Space}\p{Cc}\p{Surrogate}+]/u.test(name);
}

/** One signature line, including its newline. */
export function formatSignatureLine({ name, id, signature }: NoteSignature): string {
  requireKeyName(name);
  return `— ${name} ${toBase64(concatBytes(id, signature))}\n`;
}

/** The note as stored and served: text, blank line, signature lines. */
export function formatNote(note: Note): Bytes {
  return utf8(`${note.text}\n${note.signatures.map(formatSignatureLine).join('')}`);
}

/** An Ed25519 note signature over `text`, verified before it is returned. */
export async function signText(text: string, signer: NoteSigner): Promise<NoteSignature> {
  requireText(text);
  const signature = copyBytes(await signer.sign(utf8(text)));
  if (!verifyEd25519(signer.publicKey, utf8(text), signature)) {
    throw new MillraceError(
      'E_SIGNATURE',
      `the signer ${signer.name} made a signature that its public key does not verify`,
    );
  }
  return { name: signer.name, id: noteKeyId(signer.name, noteTypes.ed25519, signer.publicKey), signature };
}

/**
 * Parses a signed note strictly; verifies nothing.
 * @throws {MillraceError} E_LEDGER_CHECKPOINT for any byte that the format does not allow
 */
export function parseNote(bytes: Uint8Array): Note {
  if (bytes.length > MAX_NOTE_LENGTH) throw malformed('is too long');
  let whole: string;
  try {
    whole = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw malformed('is not UTF-8', cause);
  }
  requireText(whole);
  const end = whole.lastIndexOf('\n\n');
  if (end < 0) throw malformed('has no blank line before its signatures');
  return { text: whole.slice(0, end + 1), signatures: parseSignatureLines(whole.slice(end + 2)) };
}

/**
 * Parses one or more signature lines, each with its newline.
 * @throws {MillraceError} E_LEDGER_CHECKPOINT for any other form
 */
export function parseSignatureLines(text: string): readonly NoteSignature[] {
  if (!text.endsWith('\n')) throw malformed('has a signature line without its newline');
  const lines = text.slice(0, -1).split('\n');
  if (lines.length > MAX_SIGNATURES) throw malformed('has too many signatures');
  return lines.map(parseSignatureLine);
}

function parseSignatureLine(line: string): NoteSignature {
  const [dash, name = '', encoded = '', ...rest] = line.split(' ');
  const material = base64(encoded);
  if (dash !== '—' || rest.length > 0 || !isKeyName(name) || material === undefined || material.length < 5) {
    throw malformed('has a signature line of the wrong form');
  }
  return { name, id: copyBytes(material.subarray(0, 4)), signature: copyBytes(material.subarray(4)) };
}

function requireText(text: string): void {
  for (const character of text) {
    if (character < ' ' && character !== '\n') throw malformed('holds a control character');
  }
  if (/\p{Surrogate}/u.test(text) || !text.endsWith('\n')) throw malformed('does not end with a newline');
}

/** The note's signature by `key`, matched by name and key id; undefined if absent. */
export function signatureBy(note: Note, key: VerifierKey): NoteSignature | undefined {
  const found = note.signatures.filter((line) => line.name === key.name && equalBytes(line.id, key.id));
  if (found.length > 1) throw malformed(`is signed twice by ${key.name}`);
  return found[0];
}

/** Whether `signature` (64 bytes) is by this Ed25519 key over exactly `message`. */
export function verifyEd25519(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (publicKey.length !== 32 || signature.length !== SIGNATURE_LENGTH) return false;
  return crypto.verifyEd25519(publicKey, message, signature);
}

function base64(text: string): Bytes | undefined {
  try {
    return fromBase64(text);
  } catch {
    return undefined;
  }
}

function malformed(what: string, cause?: unknown): MillraceError {
  return new MillraceError('E_LEDGER_CHECKPOINT', `the signed note ${what}`, { cause });
}
