import { toHex } from '@millrace/base';
import type { Holding } from './records.ts';

/**
 * How a design's cells are renewed (spec/vault.md, section 6): `rekey` tells the segments node both outer keys, `delta` only
 * the XOR of what they make.
 */
export const maintenanceModes = ['rekey', 'delta'] as const;
export type MaintenanceMode = (typeof maintenanceModes)[number];

/** The owner's wish comes into force: when a sweep begins. */
export function inNextMode({ nextMode, ...holding }: Holding): Holding {
  return { ...holding, ...(nextMode && { mode: nextMode }) };
}

/**
 * Which cells go by mask. Decoys share the modes in the designs' proportion, each by its number, so that the mode
 * tells no decoy from a cell.
 */
export function maskedCells(holdings: Iterable<Holding>): (owner: string, segment: number) => boolean {
  const masked = new Set<string>();
  let decoys = '';
  let real = 0;
  let maskedReal = 0;
  for (const holding of holdings) {
    if (holding.decoys) decoys = toHex(holding.id);
    else {
      real += holding.instructed;
      if (holding.mode === 'delta') {
        maskedReal += holding.instructed;
        masked.add(toHex(holding.id));
      }
    }
  }
  const threshold = real === 0 ? 0 : (maskedReal / real) * 2 ** 32;
  // Multiplicative hashing spreads consecutive numbers evenly.
  return (owner, segment) =>
    owner === decoys ? Math.imul(segment + 1, 0x9e37_79b1) >>> 0 < threshold : masked.has(owner);
}
