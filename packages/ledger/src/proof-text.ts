import { type Bytes, fromBase64, MillraceError, toBase64, utf8 } from '@millrace/base';
import { HASH_LENGTH } from './tree.ts';

const header = 'c2sp.org/tlog-proof@v1';

/** Proof of one entry as C2SP tlog-proof text, for other verifiers. */
export interface TlogProof {
  readonly index: number;
  /** Audit path, the leaf's sibling first. */
  readonly hashes: readonly Uint8Array[];
  /** The signed checkpoint to which the path leads. */
  readonly checkpoint: Uint8Array;
}

export function formatTlogProof(proof: TlogProof): Bytes {
  const lines = [header, `index ${proof.index}`, ...proof.hashes.map(toBase64), ''];
  return utf8(`${lines.join('\n')}\n${new TextDecoder('utf-8', { fatal: true }).decode(proof.checkpoint)}`);
}

/** Parses strictly; verifies nothing. @throws {MillraceError} E_LEDGER_PROOF for any other form */
export function parseTlogProof(bytes: Uint8Array): TlogProof {
  const malformed = (cause?: unknown) =>
    new MillraceError('E_LEDGER_PROOF', 'not a tlog-proof@v1 without extra data', { cause });
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    const end = text.indexOf('\n\n');
    const [first, index = '', ...hashes] = text.slice(0, end).split('\n');
    const number = /^index (0|[1-9][0-9]{0,15})$/.exec(index)?.[1];
    if (end < 0 || first !== header || number === undefined || !Number.isSafeInteger(Number(number))) throw malformed();
    const path = hashes.map(fromBase64);
    if (path.some((hash) => hash.length !== HASH_LENGTH)) throw malformed();
    return { index: Number(number), hashes: path, checkpoint: utf8(text.slice(end + 2)) };
  } catch (error) {
    throw error instanceof MillraceError ? error : malformed(error);
  }
}
