import {
  type Bytes,
  bytesUpTo,
  concatBytes,
  decodeCbor,
  encodeCbor,
  equalBytes,
  MillraceError,
  parse,
  utf8,
} from '@millrace/base';
import {
  type CertificateTrust,
  decodeCertificate,
  type Ledger,
  openCheckpoint,
  parseVerifierKey,
  type VerifiedCertificate,
  verifyCertificate,
  verifyConsistency,
} from '@millrace/ledger';
import { z } from 'zod';
import type { Anchor, AnchorProof, AnchorStatement } from './anchor.ts';

const magic: Bytes = utf8('millrace-anchored/1\n');
const MAX_PROOF = 64 * 1024;
const MAX_CERTIFICATE = 32 * 1024 * 1024;

const schema = z.strictObject({
  certificate: bytesUpTo(MAX_CERTIFICATE),
  /** Signed checkpoint with at least the size of the certificate's checkpoint. */
  checkpoint: bytesUpTo(MAX_PROOF),
  /** RFC 6962 consistency proof between the two. */
  consistency: z.array(z.instanceof(Uint8Array).refine((hash) => hash.length === 32)).max(64),
  anchors: z
    .array(z.strictObject({ kind: z.string().min(1).max(32), bytes: bytesUpTo(MAX_PROOF) }))
    .min(1)
    .max(16),
});

/** A certificate, a later checkpoint of its log, and the anchors of that checkpoint. */
export type AnchoredCertificate = z.output<typeof schema>;

export function encodeAnchored(parts: AnchoredCertificate): Bytes {
  return concatBytes(magic, encodeCbor(parts));
}

/** @throws {MillraceError} E_CERTIFICATE */
export function decodeAnchored(bytes: Uint8Array): AnchoredCertificate {
  if (!equalBytes(bytes.subarray(0, magic.length), magic))
    throw new MillraceError('E_CERTIFICATE', 'not an anchored certificate');
  const what = 'anchored certificate';
  return parse(schema, decodeCbor(bytes.subarray(magic.length), what, 'E_CERTIFICATE'), what, 'E_CERTIFICATE');
}

/**
 * Combines a certificate with the anchors of a checkpoint that covers it.
 * @param checkpoint the anchored checkpoint, signed
 * @throws {MillraceError} E_LEDGER_CHECKPOINT, E_CERTIFICATE; E_INPUT if the certificate's checkpoint is later
 */
export async function anchorBundle(
  ledger: Pick<Ledger, 'logKeys' | 'proveConsistency'>,
  certificate: Uint8Array,
  checkpoint: Uint8Array,
  anchors: readonly AnchorProof[],
): Promise<Bytes> {
  const logKey = ledger.logKeys.map(parseVerifierKey);
  const { size } = openCheckpoint(checkpoint, { logKey });
  const certified = openCheckpoint(decodeCertificate(certificate).checkpoint, { logKey });
  const consistency = [...(await ledger.proveConsistency(certified.size, size))];
  const proofs = anchors.map(({ kind, bytes }) => ({ kind, bytes: Uint8Array.from(bytes) }));
  return encodeAnchored({
    certificate: Uint8Array.from(certificate),
    checkpoint: Uint8Array.from(checkpoint),
    consistency: consistency,
    anchors: proofs,
  });
}

export interface VerifiedAnchored extends VerifiedCertificate {
  /** The statement of each anchor, in the order of the bundle. */
  readonly anchored: readonly AnchorStatement[];
}

/**
 * Verifies the certificate, that the anchored checkpoint extends the certificate's, and every anchor in the bundle.
 * @param anchors by kind; each kind in the bundle needs one
 * @throws {MillraceError} E_CERTIFICATE, E_LEDGER_CHECKPOINT, E_LEDGER_PROOF, E_ANCHOR, and errors of the anchors
 */
export async function verifyAnchored(
  bytes: Uint8Array,
  trust: CertificateTrust,
  anchors: readonly Anchor[],
): Promise<VerifiedAnchored> {
  const bundle = decodeAnchored(bytes);
  const certificate = verifyCertificate(bundle.certificate, trust);
  const logKey = [trust.logKey].flat().map(parseVerifierKey);
  const later = openCheckpoint(bundle.checkpoint, { logKey });
  const { size, root } = certificate.checkpoint;
  if (!verifyConsistency(size, later.size, bundle.consistency, root, later.root))
    throw new MillraceError('E_LEDGER_PROOF', 'the anchored checkpoint does not continue that of the certificate');
  const anchored = await Promise.all(
    bundle.anchors.map(({ kind, bytes: proof }) => {
      const anchor = anchors.find((known) => known.kind === kind);
      if (anchor === undefined) throw new MillraceError('E_ANCHOR', `no anchor of kind ${kind} is configured`);
      return anchor.verify({ kind, bytes: Uint8Array.from(proof) }, later);
    }),
  );
  return { ...certificate, anchored };
}
