import type { Party } from '@millrace/identity';

/** One connection, as both of its ends saw it in clear. */
export interface Recording {
  readonly node: 'control' | 'distribution';
  /** "user owner", "machine …", "segments": who opened it. */
  readonly party: string;
  readonly role: Party['role'];
  /** Towards the node, and back. */
  readonly up: Uint8Array;
  readonly down: Uint8Array;
}
