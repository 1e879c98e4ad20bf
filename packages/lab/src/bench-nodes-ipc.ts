// Between `bench-nodes.ts` and its processes.

/** Messages of the vault, encoded. `usage` asks for the processor time of all threads since the start, ms. */
export type ToMember = { readonly maintain: Uint8Array } | { readonly usage: true };
export type FromMember =
  | { readonly ready: true }
  | { readonly maintained: Uint8Array }
  | { readonly usage: number }
  | { readonly failed: string };

/** Name of the cells in the keyspace. */
export const CELLS = 'cells';
