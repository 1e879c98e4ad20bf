import { type Bytes, utf8 } from '@millrace/base';
import type { Checkpoint } from '@millrace/ledger';
import { formatCheckpoint } from '@millrace/ledger';
import { sha256 } from '@noble/hashes/sha2.js';

/** What a foreign log keeps for us: opaque bytes of that kind of log. */
export interface AnchorProof {
  /** Kind of anchor, as `Anchor.kind`. */
  readonly kind: string;
  /** At most 64 KiB. */
  readonly bytes: Uint8Array;
}

/** What a foreign log says of a digest. */
export interface AnchorStatement {
  readonly kind: string;
  /** The digest existed at this time: milliseconds since 1970, by the foreign log's clock. */
  readonly time: number;
  /** Where it stands, for people: "chain 1, block 21000000". */
  readonly place: string;
}

/**
 * A log of somebody else that a checkpoint's digest is written to, so that whoever has the log's key cannot rewrite what
 * is older without that log's help. Off unless configured.
 */
export interface Anchor {
  readonly kind: string;
  /**
   * Writes the digest of a checkpoint.
   * @param account 32 bytes; the owner's account of one object. The whole log unless given.
   * @throws {MillraceError} E_UNAVAILABLE, E_TIMEOUT; E_ANCHOR when the foreign log refuses
   */
  submit(checkpoint: Head, account?: Uint8Array): Promise<AnchorProof>;
  /**
   * Completes a proof that could not be complete when it was submitted; the same proof when nothing is new.
   * @throws {MillraceError} E_UNAVAILABLE, E_TIMEOUT, E_ANCHOR
   */
  upgrade(proof: AnchorProof, checkpoint: Head): Promise<AnchorProof>;
  /** @throws {MillraceError} E_ANCHOR when it does not hold the digest, or not yet; E_UNAVAILABLE, E_TIMEOUT */
  verify(proof: AnchorProof, checkpoint: Head): Promise<AnchorStatement>;
}

/** What of a checkpoint is anchored. */
export type Head = Pick<Checkpoint, 'origin' | 'size' | 'root'>;

/** SHA-256 of the checkpoint's three lines (C2SP tlog-checkpoint), without signatures: signers may change. */
export function checkpointDigest(checkpoint: Head): Bytes {
  return Uint8Array.from(sha256(utf8(formatCheckpoint(checkpoint))));
}
