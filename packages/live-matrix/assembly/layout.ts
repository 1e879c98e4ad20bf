// Places in linear memory that the host writes and reads. Everything is aligned to 64 bytes.

/** 25 lanes of 8 bytes: the block of H for g = 0, with the upper half of g in lane 0. */
export const BLOCK: usize = 1024;
/** 24 round constants of 8 bytes. */
export const CONSTANTS: usize = 2048;
/** Two states, each 25 lanes of up to 16 bytes. */
export const STATE_A: usize = 3072;
export const STATE_E: usize = 3584;
/** Up to 4096 values of 4 bytes. */
export const VALUES: usize = 4096;
/** Up to 4096 results of 8 bytes (hashBatch), or of 4 bytes (hashRange). */
export const RESULTS: usize = 4096 + 4096 * 4;
