/**
 * How a design's cells are renewed (spec/vault.md, section 6). With `rekey` the segments node gets both outer keys.
 * With `delta` it gets only the XOR of their keystreams. With `key-homomorphic` it gets one scalar that converts a
 * layer of points.
 */
export const maintenanceModes = ['rekey', 'delta', 'key-homomorphic'] as const;
export type MaintenanceMode = (typeof maintenanceModes)[number];

/**
 * Maximum segments of a key-homomorphic design, 65,480 bytes: each cell costs two thirds of a core-second per epoch.
 */
export const MAX_POINTS_SEGMENTS = 4;
