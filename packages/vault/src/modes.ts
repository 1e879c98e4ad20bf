/**
 * How a design's cells are renewed (spec/vault.md, section 6): `rekey` tells the segments node both outer keys, `delta` only
 * the XOR of what they make, `key-homomorphic` one scalar that takes a layer of points from key to key.
 */
export const maintenanceModes = ['rekey', 'delta', 'key-homomorphic'] as const;
export type MaintenanceMode = (typeof maintenanceModes)[number];

/** Most segments of a key-homomorphic design, 65,480 bytes: a cell costs two thirds of a second of a core every epoch. */
export const MAX_POINTS_SEGMENTS = 4;
