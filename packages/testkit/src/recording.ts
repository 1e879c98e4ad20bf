import type { Party } from '@millrace/identity';

/** Plaintext of one connection. */
export interface Recording {
  readonly node: 'control' | 'distribution';
  /** Party that opened the connection: "user owner", "machine …", "segments". */
  readonly party: string;
  readonly role: Party['role'];
  /** Bytes towards the node, and bytes from it. */
  readonly up: Uint8Array;
  readonly down: Uint8Array;
}
