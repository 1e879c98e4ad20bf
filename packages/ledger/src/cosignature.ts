import { type Bytes, concatBytes, MillraceError, u64be, utf8 } from '@millrace/base';
import { type NoteSignature, type NoteSigner, noteKeyId, noteTypes, type VerifierKey, verifyEd25519 } from './note.ts';

/** The message that a witness signs: C2SP tlog-cosignature, Ed25519 cosignature/v1. `time` in seconds since 1970. */
export function cosignedMessage(text: string, time: number): Bytes {
  return utf8(`cosignature/v1\ntime ${time}\n${text}`);
}

/** A witness's signature over a checkpoint's text, for a line of its note. The caller must check consistency first. */
export async function cosign(text: string, time: number, signer: NoteSigner): Promise<NoteSignature> {
  if (!Number.isSafeInteger(time) || time < 0) throw new MillraceError('E_INPUT', 'time: expected whole seconds');
  const signature = await signer.sign(cosignedMessage(text, time));
  return {
    name: signer.name,
    id: noteKeyId(signer.name, noteTypes.cosignature, signer.publicKey),
    signature: concatBytes(u64be(BigInt(time)), signature),
  };
}

/** The time of a valid cosignature (u64 time ‖ 64 bytes), or undefined if it is invalid. */
export function verifyCosignature(text: string, witness: VerifierKey, signature: Uint8Array): number | undefined {
  if (witness.type !== noteTypes.cosignature || signature.length !== 72) return undefined;
  const view = new DataView(signature.buffer, signature.byteOffset, signature.length);
  const time = Number(view.getBigUint64(0));
  if (!Number.isSafeInteger(time)) return undefined;
  return verifyEd25519(witness.publicKey, cosignedMessage(text, time), signature.subarray(8)) ? time : undefined;
}
