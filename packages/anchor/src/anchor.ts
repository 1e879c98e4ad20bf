import { type Bytes, utf8 } from '@millrace/base';
import type { Checkpoint } from '@millrace/ledger';
import { formatCheckpoint } from '@millrace/ledger';
import { sha256 } from '@noble/hashes/sha2.js';

/** Proof from a foreign log: opaque bytes of that kind of log. */
export interface AnchorProof {
  /** Kind of anchor, as `Anchor.kind`. */
  readonly kind: string;
  /** At most 64 KiB. */
  readonly bytes: Uint8Array;
}

/** A foreign log's statement about a digest. */
export interface AnchorStatement {
  readonly kind: string;
  /** Time at which the digest existed: milliseconds since 1970, by the foreign log's clock. */
  readonly time: number;
  /** Location for display: "chain 1, block 21000000". */
  readonly place: string;
}

/**
 * A foreign log to which a checkpoint's digest is written, so that the holder of the log's key cannot rewrite older
 * entries without the foreign log's help. Off unless configured.
 */
export interface Anchor {
  readonly kind: string;
  /**
   * Writes the digest of a checkpoint.
   * @param account 32 bytes; the owner's account of one object. Default: the whole log
   * @throws {MillraceError} E_UNAVAILABLE, E_TIMEOUT; E_ANCHOR if the foreign log refuses
   */
  submit(checkpoint: Head, account?: Uint8Array): Promise<AnchorProof>;
  /**
   * Completes a proof that was incomplete when it was submitted. Returns the same proof if nothing has changed.
   * @throws {MillraceError} E_UNAVAILABLE, E_TIMEOUT, E_ANCHOR
   */
  upgrade(proof: AnchorProof, checkpoint: Head): Promise<AnchorProof>;
  /** @throws {MillraceError} E_ANCHOR if the log does not contain the digest (yet); E_UNAVAILABLE, E_TIMEOUT */
  verify(proof: AnchorProof, checkpoint: Head): Promise<AnchorStatement>;
}

/** The anchored part of a checkpoint. */
export type Head = Pick<Checkpoint, 'origin' | 'size' | 'root'>;

/** SHA-256 of the checkpoint's three lines (C2SP tlog-checkpoint), without signatures, because signers may change. */
export function checkpointDigest(checkpoint: Head): Bytes {
  return Uint8Array.from(sha256(utf8(formatCheckpoint(checkpoint))));
}
