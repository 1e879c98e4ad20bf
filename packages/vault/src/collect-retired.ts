import { type RandomSource, toHex } from '@millrace/base';
import type { Write } from '@millrace/stores';
import { CHUNK } from './keyring.ts';
import { contentKeysKey, type Holding, holdingKey, manifestKey, randomU32 } from './records.ts';

/** Collects what the sweep to epoch `to` retires: deleted designs, and decoys beyond the new number. */
export function collectRetired(
  holdings: Iterable<Holding>,
  to: number,
  random: RandomSource,
): { cut: Holding[]; gone: string[]; writes: Write[] } {
  const cut: Holding[] = [];
  const gone: string[] = [];
  const writes: Write[] = [];
  for (const holding of holdings) {
    const { retire, retireTo, ...kept } = holding;
    if (retire === undefined || retireTo === undefined || to < retireTo) continue;
    if (holding.deleted) {
      gone.push(toHex(holding.id));
      writes.push({ delete: holdingKey(holding.id) }, { delete: manifestKey(holding.id) });
      for (let chunk = 0; chunk * CHUNK < holding.segments; chunk++)
        writes.push({ delete: contentKeysKey(holding.id, chunk) });
    } else {
      const least = (value: number) => Math.min(value, retire);
      cut.push({
        ...kept,
        generation: randomU32(random),
        segments: least(kept.segments),
        stored: least(kept.stored),
        instructed: least(kept.instructed),
      });
    }
  }
  return { cut, gone, writes };
}
