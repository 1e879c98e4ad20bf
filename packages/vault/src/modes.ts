/**
 * How a design's cells are renewed (spec/vault.md, section 6): with `rekey` the segments node gets both outer keys, with
 * `delta` only the XOR of their keystreams, with `key-homomorphic` one scalar that converts a layer of points.
 */
export const maintenanceModes = ['rekey', 'delta', 'key-homomorphic'] as const;
export type MaintenanceMode = (typeof maintenanceModes)[number];

/** Most segments of a key-homomorphic design, 65,480 bytes: a cell costs two thirds of a second of a core every epoch. */
export const MAX_POINTS_SEGMENTS = 4;
