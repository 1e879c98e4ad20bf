/**
 * The suites of the streaming live matrix: which sponge computes H(g,t,k). See spec/live-matrix.md, section 2. Both
 * absorb one block, so a suite is four numbers: its id, the number of rounds, the first byte of the padding, and the
 * lane that carries the last byte of the rate.
 */
export type SuiteName = 'keccak256' | 'turboshake128';

export interface Suite {
  readonly name: SuiteName;
  /** Identifies the suite in a frame's header. */
  readonly id: number;
  /** Rounds of Keccak-p[1600], counted from the end: 24 is Keccak-f. */
  readonly rounds: number;
  /** First byte after the 48 bytes of the message: padding, or the domain byte of RFC 9861. */
  readonly domain: number;
  /** Lane whose highest byte carries the last bit of the padding. */
  readonly lastLane: number;
}

/** Bytes of the message g ‖ t ‖ k. */
export const MESSAGE_BYTES = 48;
/** Bytes of a table's key k. */
export const KEY_BYTES = 32;

export const suites: Readonly<Record<SuiteName, Suite>> = {
  /** Keccak-256 with the original padding 0x01 (not SHA3-256), as in the paper. Rate 136 bytes. */
  keccak256: { name: 'keccak256', id: 1, rounds: 24, domain: 0x01, lastLane: 16 },
  /** TurboSHAKE128 of RFC 9861 with domain byte 0x4D ('M'). Rate 168 bytes. */
  turboshake128: { name: 'turboshake128', id: 2, rounds: 12, domain: 0x4d, lastLane: 20 },
};

export function suiteById(id: number): Suite | undefined {
  return Object.values(suites).find((suite) => suite.id === id);
}
