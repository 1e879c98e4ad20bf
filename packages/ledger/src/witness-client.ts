import { MillraceError } from '@millrace/base';
import { parseCheckpoint } from './checkpoint.ts';
import { verifyCosignature } from './cosignature.ts';
import { type NoteSignature, parseNote, type VerifierKey } from './note.ts';
import { formatAddCheckpoint, parseCosignatures, parseWitnessSize } from './witness.ts';

export interface WitnessRequest {
  /** Verifier key, type 0x04. */
  readonly witness: VerifierKey;
  readonly checkpoint: Uint8Array;
  /** Size that the witness last signed, as far as known; 0 asks the witness. */
  readonly old: number;
  /** Proof that the log of this checkpoint extends that of `old` entries. */
  prove(old: number): Promise<readonly Uint8Array[]>;
  /** Sends the body to `<submission prefix>/add-checkpoint`. */
  post(body: Uint8Array): Promise<{ readonly status: number; readonly body: Uint8Array }>;
}

export type WitnessOutcome =
  /** `time` in seconds since 1970. */
  | { readonly outcome: 'signed'; readonly signature: NoteSignature; readonly time: number }
  /** The witness has signed a larger head. */
  | { readonly outcome: 'ahead'; readonly size: number }
  /** The witness has signed a head that this one does not extend. */
  | { readonly outcome: 'conflict'; readonly size: number };

/**
 * Requests a witness's cosignature (C2SP tlog-witness, add-checkpoint).
 * @throws {MillraceError} E_UNAVAILABLE for an answer that the protocol does not allow here; E_SIGNATURE for an invalid
 *   cosignature; errors of `prove` and `post`
 */
export async function requestCosignature(request: WitnessRequest): Promise<WitnessOutcome> {
  const { witness, checkpoint, prove, post } = request;
  const { text } = parseNote(checkpoint);
  const { size } = parseCheckpoint(text);
  let old = Math.min(request.old, size);
  // The second answer is about the size that the first one named, unless another caller was faster.
  for (let attempt = 0; attempt < 4; attempt++) {
    const proof = await prove(old);
    const answer = await post(formatAddCheckpoint({ old, proof, checkpoint }));
    if (answer.status === 200) return signed(text, witness, answer.body);
    if (answer.status === 422) return { outcome: 'conflict', size: old };
    const known = answer.status === 409 ? parseWitnessSize(answer.body) : undefined;
    if (known === undefined)
      throw new MillraceError('E_UNAVAILABLE', `the witness ${witness.name} answered ${answer.status}`);
    if (known > size) return { outcome: 'ahead', size: known };
    if (known === old) return { outcome: 'conflict', size: known };
    old = known;
  }
  throw new MillraceError('E_UNAVAILABLE', `the witness ${witness.name} names another size each time`);
}

function signed(text: string, witness: VerifierKey, body: Uint8Array): WitnessOutcome {
  for (const line of parseCosignatures(body)) {
    if (line.name !== witness.name || !witness.id.every((byte, at) => byte === line.id[at])) continue;
    const time = verifyCosignature(text, witness, line.signature);
    if (time !== undefined) return { outcome: 'signed', signature: line, time };
  }
  throw new MillraceError('E_SIGNATURE', `the witness ${witness.name} made no cosignature that verifies`);
}
