import { type Bytes, fromBase64, MillraceError, toBase64, utf8 } from '@millrace/base';
import { verifyCosignature } from './cosignature.ts';
import {
  formatNote,
  type Note,
  type NoteSigner,
  noteTypes,
  parseNote,
  signatureBy,
  signText,
  type VerifierKey,
  verifyEd25519,
} from './note.ts';
import { HASH_LENGTH } from './tree.ts';

/** Head of the log at one size (C2SP tlog-checkpoint). */
export interface Checkpoint {
  readonly origin: string;
  readonly size: number;
  /** 32 bytes. */
  readonly root: Bytes;
  /** Lines after the third. This ledger never writes any. */
  readonly extensions: readonly string[];
}

export interface VerifiedCheckpoint extends Checkpoint {
  readonly note: Note;
  /** The requested witnesses that signed; time in seconds since 1970. */
  readonly cosignatures: readonly { readonly name: string; readonly time: number }[];
  /** Number of signature lines by unknown keys. They are ignored, as the note specification requires. */
  readonly unknownSignatures: number;
}

export interface CheckpointTrust {
  /** Key of the log, or several if it was rotated. At least one must have signed. */
  readonly logKey: VerifierKey | readonly VerifierKey[];
  /** Required first line. Default: the log key's name. */
  readonly origin?: string;
  /** Verifier keys of type 0x04. */
  readonly witnesses?: readonly VerifierKey[];
}

export function formatCheckpoint(checkpoint: Pick<Checkpoint, 'origin' | 'size' | 'root'>): string {
  return `${checkpoint.origin}\n${checkpoint.size}\n${toBase64(checkpoint.root)}\n`;
}

/** @param signers signers of the log; several while its key is rotated */
export async function signCheckpoint(
  checkpoint: Pick<Checkpoint, 'origin' | 'size' | 'root'>,
  ...signers: readonly NoteSigner[]
): Promise<Bytes> {
  const text = formatCheckpoint(checkpoint);
  return formatNote({ text, signatures: await Promise.all(signers.map((signer) => signText(text, signer))) });
}

/** @throws {MillraceError} E_LEDGER_CHECKPOINT unless the text of the note is exactly a checkpoint */
export function parseCheckpoint(text: string): Checkpoint {
  const [origin = '', size = '', root = '', ...rest] = text.split('\n');
  const extensions = rest.slice(0, -1);
  if (rest.at(-1) !== '' || origin === '' || extensions.includes('')) throw refused('is not three lines or more');
  if (!/^(0|[1-9][0-9]{0,15})$/.test(size) || !Number.isSafeInteger(Number(size))) throw refused('has no proper size');
  return { origin, size: Number(size), root: parseRoot(root), extensions };
}

function parseRoot(text: string): Bytes {
  try {
    const root = fromBase64(text);
    if (root.length === HASH_LENGTH) return root;
  } catch (cause) {
    throw refused('has no proper root hash', cause);
  }
  throw refused('has no proper root hash');
}

/**
 * Reads a checkpoint and verifies the signatures of the log and of the given witnesses.
 * @throws {MillraceError} E_LEDGER_CHECKPOINT: malformed, from another log, not signed by the log, or with a wrong
 *   signature in the name of the log or of a given witness
 */
export function openCheckpoint(bytes: Uint8Array, trust: CheckpointTrust): VerifiedCheckpoint {
  const note = parseNote(bytes);
  const checkpoint = parseCheckpoint(note.text);
  const logKeys = [trust.logKey].flat();
  const origin = trust.origin ?? logKeys[0]?.name;
  if (checkpoint.origin !== origin) throw refused(`is of the log ${checkpoint.origin}, not of ${origin}`);
  if (logKeys.some(({ type }) => type !== noteTypes.ed25519))
    throw new MillraceError('E_INPUT', 'the log key is not of type 0x01');
  const own = logKeys.filter((key) => {
    const line = signatureBy(note, key);
    if (line !== undefined && !verifyEd25519(key.publicKey, utf8(note.text), line.signature))
      throw refused(`has a signature of ${key.name} that does not verify`);
    return line !== undefined;
  });
  if (own.length === 0) throw refused(`is not signed by ${origin}`);
  const cosignatures: { name: string; time: number }[] = [];
  for (const witness of trust.witnesses ?? []) {
    const line = signatureBy(note, witness);
    if (line === undefined) continue;
    const time = verifyCosignature(note.text, witness, line.signature);
    if (time === undefined) throw refused(`has a cosignature of ${witness.name} that does not verify`);
    cosignatures.push({ name: witness.name, time });
  }
  return {
    ...checkpoint,
    note,
    cosignatures,
    unknownSignatures: note.signatures.length - own.length - cosignatures.length,
  };
}

function refused(what: string, cause?: unknown): MillraceError {
  return new MillraceError('E_LEDGER_CHECKPOINT', `the checkpoint ${what}`, { cause });
}
