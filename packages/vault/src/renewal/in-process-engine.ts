import { type Bytes, wipe } from '@millrace/base';
import type { Cells, NewCell } from '@millrace/stores';
import type { MaintainMessage, MaskedCells, MovedCells } from '../messages.ts';
import { applyOuterLayer } from '../outer.ts';
import { SEGMENT_BYTES } from '../sizes.ts';
import { type CellEngine, judge, type StepOutcome, type Verdict } from './engine.ts';
import { xorInto } from './jobs.ts';

/** Cells processed before the event loop gets a turn: about half a millisecond. */
const BREATH = 32;

/** Runs steps of a sweep on the calling thread, over any cell store. */
export class InProcessEngine implements CellEngine {
  readonly cells: Cells;

  constructor(cells: Cells) {
    this.cells = cells;
  }

  async renew(step: MaintainMessage, renewed: readonly NewCell[]): Promise<StepOutcome> {
    const started = performance.now();
    const staged: NewCell[] = [...renewed];
    const outcome = { missing: [] as Bytes[], damaged: [] as Bytes[], staged: 0, absent: 0 };
    const { items, masked, forget, to } = step;
    const renewAll = async (cells: MovedCells | MaskedCells, change: (n: number, body: Bytes) => Bytes) => {
      for (let n = 0; n < cells.count; n++) {
        const index = cells.view(n, 'newIndex');
        const found = await this.#renew(cells, n, to, (body) => change(n, body));
        if (found === 'missing' || found === 'damaged') outcome[found].push(index.slice());
        else if (found === 'staged' || found === 'absent') outcome[found]++;
        else staged.push({ index, epoch: to, body: found });
        if (n % BREATH === BREATH - 1) await breathe();
      }
    };
    await renewAll(items, (n, body) => {
      const sealed = applyOuterLayer(items.view(n, 'oldKey'), body);
      const moved = applyOuterLayer(items.view(n, 'newKey'), sealed);
      wipe(sealed);
      return moved;
    });
    await renewAll(masked, (n, body) => xorInto(body, masked.view(n, 'mask')));
    await this.cells.put(staged);
    const left = Array.from({ length: forget.count }, (_, n) => forget.view(n, 'index'));
    if (left.length > 0) await this.cells.remove(left);
    return { ...outcome, staged: outcome.staged + staged.length, workMs: performance.now() - started };
  }

  /** @returns the new body, unless nothing is to be staged */
  async #renew(
    cells: MovedCells | MaskedCells,
    n: number,
    to: number,
    change: (body: Bytes) => Bytes,
  ): Promise<Bytes | Exclude<Verdict, 'renew'>> {
    const newIndex = cells.view(n, 'newIndex');
    const [staged] = await this.cells.heads([newIndex]);
    const old = await this.cells.get(cells.view(n, 'oldIndex'));
    const step = { to, flags: cells.number(n, 'flags'), length: SEGMENT_BYTES };
    const verdict = judge(step, staged, old && { epoch: old.epoch, length: old.body.length });
    if (verdict !== 'renew' || old === undefined) return verdict === 'renew' ? 'missing' : verdict;
    // A staged cell with other bytes is not part of this step. Remove it before staging.
    if (staged !== undefined) await this.cells.remove([newIndex]);
    return change(old.body);
  }
}

function breathe(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
