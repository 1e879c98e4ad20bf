import { toHex } from '@millrace/base';
import type { MaintenanceMode } from './modes.ts';
import type { Holding } from './records.ts';

/** Whether the cells lie under a layer of points. */
export const hasPoints = ({ mode }: Pick<Holding, 'mode'>): boolean => mode === 'key-homomorphic';

/** Applies the owners' requested modes. Called when a sweep begins. @returns the holdings that change */
export function inNextModes(holdings: Iterable<Holding>): Holding[] {
  return [...holdings].flatMap(({ nextMode, ...holding }) =>
    nextMode === undefined ? [] : [{ ...holding, mode: nextMode }],
  );
}

/** The mode in which a sweep carries a cell. */
export type ModeOf = (owner: string, segment: number) => MaintenanceMode;

/**
 * Decoys use the modes `rekey` and `delta` in the same proportion as the designs, chosen by decoy number, so the mode
 * does not distinguish a decoy from a design's cell. Cells of points have separate decoys.
 */
export function modesOf(holdings: Iterable<Holding>): ModeOf {
  const modes = new Map<string, MaintenanceMode>();
  let decoys = '';
  let real = 0;
  let masked = 0;
  for (const holding of holdings) {
    const { id, mode = 'rekey', instructed } = holding;
    if (holding.decoys && !hasPoints(holding)) decoys = toHex(id);
    else modes.set(toHex(id), mode);
    if (holding.decoys || hasPoints(holding)) continue;
    real += instructed;
    if (mode === 'delta') masked += instructed;
  }
  const threshold = real === 0 ? 0 : (masked / real) * 2 ** 32;
  return (owner, segment) => {
    if (owner !== decoys) return modes.get(owner) ?? 'rekey';
    // Multiplicative hashing spreads consecutive numbers evenly.
    return Math.imul(segment + 1, 0x9e37_79b1) >>> 0 < threshold ? 'delta' : 'rekey';
  };
}
