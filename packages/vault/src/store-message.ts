import { type Bytes, copyBytes } from '@millrace/base';
import { decoySeed } from './decoys.ts';
import { hasPoints } from './holding-modes.ts';
import type { PlacedCell, StoreMessage } from './messages.ts';
import type { Holding } from './records.ts';
import type { LabelOf } from './sweep.ts';

/** The message that has the segments node store `cells`, segments `from` and following of a holding. */
export function storeMessage(options: {
  readonly holding: Holding;
  readonly from: number;
  readonly cells: PlacedCell[];
  /** Secret of the decoys; undefined for a design. */
  readonly secret: Bytes | undefined;
  readonly labelOf: LabelOf;
}): StoreMessage {
  const { holding, from, cells, secret, labelOf } = options;
  const { id, decoys, generation } = holding;
  const seeds = secret === undefined ? [] : cells.map((_, i) => decoySeed(secret, from + i));
  const labels = hasPoints(holding) ? cells.map((_, i) => labelOf(holding, from + i)) : [];
  return { type: 'store', design: copyBytes(id), generation, from, decoys, cells, seeds, labels };
}
