import type { Bytes } from '@millrace/base';
import { hasPoints } from './holding-modes.ts';
import { outerKey } from './outer.ts';
import { pointsKey } from './points/keys.ts';
import type { Holding } from './records.ts';

/** k_e of a cell, derived for the kind of its outer layer: 32 bytes, the caller wipes them. */
export function layerKey(epochKey: Uint8Array, holding: Pick<Holding, 'id' | 'mode'>, segment: number): Bytes {
  return hasPoints(holding) ? pointsKey(epochKey, holding.id, segment) : outerKey(epochKey, holding.id, segment);
}
