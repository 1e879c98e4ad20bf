import { type Bytes, concatBytes, toHex, utf8 } from '@millrace/base';
import { decodeCertificate, decodeOpening, formatTlogProof, SALT_LENGTH } from '@millrace/ledger';

/** A file, and its name, for verifiers that cannot read certificates. */
export interface ProofFile {
  readonly name: string;
  readonly content: Bytes;
}

/**
 * The parts of a certificate as files for other programs: for each entry its proof (C2SP tlog-proof), the entry as in
 * the log, the event (CBOR) and the salt (hexadecimal) that open it; and the checkpoint. Nothing is verified.
 * @throws {MillraceError} E_CERTIFICATE, E_LEDGER_ENTRY
 */
export function certificateProofs(bytes: Uint8Array): readonly ProofFile[] {
  const { checkpoint, entries } = decodeCertificate(bytes);
  return [
    { name: 'checkpoint', content: concatBytes(checkpoint) },
    ...entries.flatMap(({ index, opening, proof }) => [
      { name: `${index}.tlog-proof`, content: formatTlogProof({ index, hashes: proof, checkpoint }) },
      { name: `${index}.entry`, content: decodeOpening(opening, index).entry },
      { name: `${index}.event`, content: concatBytes(opening.subarray(SALT_LENGTH)) },
      { name: `${index}.salt`, content: utf8(`${toHex(opening.subarray(0, SALT_LENGTH))}\n`) },
    ]),
  ];
}
