import { type Bytes, concatBytes, equalBytes, fromBase64, MillraceError, toBase64, utf8 } from '@millrace/base';
import { type Checkpoint, openCheckpoint, parseCheckpoint } from './checkpoint.ts';
import { formatSignatureLine, type NoteSignature, parseNote, parseSignatureLines, type VerifierKey } from './note.ts';
import { emptyRoot, HASH_LENGTH, verifyConsistency } from './tree.ts';

// C2SP tlog-witness: requests of a log or a monitor to a witness, and the witness's decision. No I/O.

const MAX_PROOF = 63;

/** Maximum request that a witness reads, bytes. */
export const MAX_ADD_CHECKPOINT = 64 * 1024;

/** Content type of the answer with the witness's size. */
export const WITNESS_SIZE_TYPE = 'text/x.tlog.size';

export interface AddCheckpoint {
  /** Size of the last checkpoint that the witness signed, as far as the caller knows. */
  readonly old: number;
  /** Consistency proof from that size, hashes of 32 bytes. */
  readonly proof: readonly Uint8Array[];
  /** The signed checkpoint. */
  readonly checkpoint: Uint8Array;
}

/** The last checkpoint that a witness signed. */
export interface WitnessedHead {
  readonly size: number;
  readonly root: Uint8Array;
}

/** With 409, `size` is the witness's size. */
export type WitnessDecision =
  | { readonly status: 200; readonly checkpoint: Checkpoint; readonly text: string }
  | { readonly status: 403 | 404 | 409 | 422 | 400; readonly reason: string; readonly size?: number }
  /** Two checkpoints of one size, both signed by the log: proof of two histories. */
  | { readonly status: 409; readonly reason: string; readonly size: number; readonly fork: true };

export function formatAddCheckpoint({ old, proof, checkpoint }: AddCheckpoint): Bytes {
  return concatBytes(utf8(`${[`old ${old}`, ...proof.map(toBase64)].join('\n')}\n\n`), checkpoint);
}

/** Parses strictly; verifies nothing. @throws {MillraceError} E_INPUT for any other form */
export function parseAddCheckpoint(bytes: Uint8Array): AddCheckpoint {
  if (bytes.length > MAX_ADD_CHECKPOINT) throw malformed('it is too long');
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw malformed('it is not UTF-8', cause);
  }
  const end = text.indexOf('\n\n');
  if (end < 0) throw malformed('it has no empty line');
  const [first = '', ...lines] = text.slice(0, end).split('\n');
  const old = /^old (0|[1-9][0-9]{0,15})$/.exec(first)?.[1];
  if (old === undefined || !Number.isSafeInteger(Number(old))) throw malformed('it does not begin with the old size');
  if (lines.length > MAX_PROOF) throw malformed(`the proof has more than ${MAX_PROOF} hashes`);
  return { old: Number(old), proof: lines.map(parseHash), checkpoint: utf8(text.slice(end + 2)) };
}

function parseHash(line: string): Bytes {
  let hash: Bytes;
  try {
    hash = fromBase64(line);
  } catch (cause) {
    throw malformed('a line of the proof is not base64', cause);
  }
  if (hash.length !== HASH_LENGTH) throw malformed('a line of the proof is no hash');
  return hash;
}

/**
 * Whether a witness may sign this checkpoint: C2SP tlog-witness, add-checkpoint. The signer must record the checkpoint
 * first, and decide about only one request of a log at a time.
 * @param logs keys by origin
 * @param last the last checkpoint of this log that the witness signed
 */
export function decideCheckpoint(
  request: AddCheckpoint,
  logs: ReadonlyMap<string, readonly VerifierKey[]>,
  last: (origin: string) => WitnessedHead | undefined,
): WitnessDecision {
  let claimed: Checkpoint;
  let text: string;
  try {
    ({ text } = parseNote(request.checkpoint));
    claimed = parseCheckpoint(text);
  } catch (error) {
    if (error instanceof MillraceError) return { status: 400, reason: error.message };
    throw error;
  }
  const { origin, size, root } = claimed;
  const logKey = logs.get(origin);
  if (logKey === undefined) return { status: 404, reason: 'the witness does not know this log' };
  try {
    openCheckpoint(request.checkpoint, { logKey, origin });
  } catch (error) {
    if (error instanceof MillraceError) return { status: 403, reason: error.message };
    throw error;
  }
  if (request.old > size) return { status: 400, reason: 'the old size is larger than the size of the checkpoint' };
  const known = last(origin) ?? { size: 0, root: emptyRoot() };
  if (known.size === size && !equalBytes(known.root, root))
    return { status: 409, reason: 'the witness has signed another head of this size', size: known.size, fork: true };
  if (request.old !== known.size)
    return { status: 409, reason: `the witness has signed size ${known.size}`, size: known.size };
  if (!verifyConsistency(known.size, size, request.proof, known.root, root))
    return { status: 422, reason: 'the proof does not lead from the last signed head to this one' };
  return { status: 200, checkpoint: claimed, text };
}

/** Body of a witness's answer. */
export function formatCosignatures(signatures: readonly NoteSignature[]): Bytes {
  return utf8(signatures.map(formatSignatureLine).join(''));
}

/** Signature lines in a witness's answer; nothing is verified. @throws {MillraceError} E_INPUT */
export function parseCosignatures(bytes: Uint8Array): readonly NoteSignature[] {
  try {
    return parseSignatureLines(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (cause) {
    throw new MillraceError('E_INPUT', 'the witness did not answer with signature lines', { cause });
  }
}

/** The size in a 409 answer; undefined if the body is not a size. */
export function parseWitnessSize(bytes: Uint8Array): number | undefined {
  const size = /^(0|[1-9][0-9]{0,15})\n$/.exec(new TextDecoder().decode(bytes))?.[1];
  return size === undefined || !Number.isSafeInteger(Number(size)) ? undefined : Number(size);
}

function malformed(what: string, cause?: unknown): MillraceError {
  return new MillraceError('E_INPUT', `not an add-checkpoint request: ${what}`, { cause });
}
