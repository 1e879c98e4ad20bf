/** Design bytes in a segment. */
export const CONTENT_BYTES = 16_370;
/** GCM tag. */
export const TAG_BYTES = 16;
/** A sealed segment; a multiple of 3, for hints of order 24. */
export const SEGMENT_BYTES = CONTENT_BYTES + TAG_BYTES;
/** Part of a cell's value that is kept in the file of slots: four pages of 4 KiB. The value is a few bytes longer. */
export const SLOT_BYTES = 16_384;
export const KEY_BYTES = 32;
export const INDEX_BYTES = 20;
export const HASH_BYTES = 32;
export const DESIGN_ID_BYTES = 16;
/**
 * A cell under a layer of points: 547 compressed points of 33 bytes, padded to a multiple of 6 for hints of any order.
 */
export const POINTS_BYTES = 18_054;
