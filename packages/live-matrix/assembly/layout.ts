// Addresses in linear memory that the hash kernels use. The host writes the block, the constants and the values, and
// reads the results. All addresses are aligned to 64 bytes.

/** 25 lanes of 8 bytes: the block of H for g = 0, with the upper half of g in lane 0. */
export const BLOCK: usize = 1024;
/** 24 round constants of 8 bytes. */
export const CONSTANTS: usize = 2048;
/** States, each 25 lanes of up to 16 bytes. */
export const STATE_A: usize = 3072;
export const STATE_E: usize = 3584;
export const BASE: usize = 2304;
/** Up to 4096 values of 4 bytes. */
export const VALUES: usize = 4096;
/** Up to 4096 results of 8 bytes. */
export const RESULTS: usize = 4096 + 4096 * 4;
/** 64 differences of 25 lanes, 8 bytes each. */
export const DIFFERENCES: usize = 0x10000;
/** A second pair of states. */
export const STATE_B: usize = 0x13400;
export const STATE_F: usize = 0x13600;
/** 2^15 results of 4 bytes. */
export const RANGE: usize = 0x20000;
