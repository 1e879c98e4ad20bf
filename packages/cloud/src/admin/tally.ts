/** Number of items of a store, and a SHA-256 over all of them, hexadecimal: equal stores have equal digests. */
export interface Tally {
  readonly count: number;
  readonly sha256: string;
}
