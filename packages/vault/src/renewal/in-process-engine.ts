import { type Bytes, wipe } from '@millrace/base';
import type { CellHead, Cells, NewCell } from '@millrace/stores';
import type { MaintainMessage, MaskedCells, MovedCells } from '../messages.ts';
import { applyOuterLayer } from '../outer.ts';
import { SEGMENT_BYTES } from '../sizes.ts';
import { type CellEngine, judge, type StepOutcome, type Verdict } from './engine.ts';
import { xorInto } from './jobs.ts';

/** Cells read, renewed and written together. */
const CHUNK = 32;
/** Chunks under way at a time: a store at the other end of a network answers late. 4 MB of cells. */
const UNDER_WAY = 4;

/** Runs steps of a sweep on the calling thread, over any cell store. */
export class InProcessEngine implements CellEngine {
  readonly cells: Cells;

  constructor(cells: Cells) {
    this.cells = cells;
  }

  async renew(step: MaintainMessage, renewed: readonly NewCell[]): Promise<StepOutcome> {
    const started = performance.now();
    const outcome = { missing: [] as Bytes[], damaged: [] as Bytes[], staged: renewed.length, absent: 0 };
    const { items, masked, forget, to } = step;
    let failed = false;
    const fail = (error: unknown): never => {
      failed = true;
      throw error;
    };
    const renewChunk = async (cells: MovedCells | MaskedCells, numbers: readonly number[], change: Change) => {
      const heads = await this.cells.heads(
        numbers.map((n) => cells.view(n, 'newIndex')),
        to,
      );
      const found = await all(numbers.map((n, i) => this.#renew(cells, n, to, heads[i], change).catch(fail)));
      const staged: NewCell[] = [];
      for (const [i, n] of numbers.entries()) {
        const body = found[i];
        const index = cells.view(n, 'newIndex');
        if (body === 'missing' || body === 'damaged') outcome[body].push(index.slice());
        else if (body === 'staged' || body === 'absent') outcome[body]++;
        else if (body !== undefined) staged.push({ index, epoch: to, body });
      }
      await this.cells.put(staged);
      outcome.staged += staged.length;
      await breathe();
    };
    const renewAll = async (cells: MovedCells | MaskedCells, change: Change) => {
      let next = 0;
      const work = async () => {
        while (next < cells.count && !failed) {
          const from = next;
          next = Math.min(from + CHUNK, cells.count);
          const numbers = Array.from({ length: next - from }, (_, i) => from + i);
          await renewChunk(cells, numbers, change).catch(fail);
        }
      };
      await all(Array.from({ length: UNDER_WAY }, work));
    };
    await renewAll(items, (n, body) => {
      const sealed = applyOuterLayer(items.view(n, 'oldKey'), body);
      const moved = applyOuterLayer(items.view(n, 'newKey'), sealed);
      wipe(sealed);
      return moved;
    });
    await renewAll(masked, (n, body) => xorInto(body, masked.view(n, 'mask')));
    await this.cells.put(renewed);
    const left = Array.from({ length: forget.count }, (_, n) => forget.view(n, 'index'));
    if (left.length > 0) await this.cells.remove(left, to - 1);
    return { ...outcome, workMs: performance.now() - started };
  }

  /** @returns the new body, unless nothing is to be staged */
  async #renew(
    cells: MovedCells | MaskedCells,
    n: number,
    to: number,
    staged: CellHead | undefined,
    change: Change,
  ): Promise<Bytes | Exclude<Verdict, 'renew'>> {
    const oldIndex = cells.view(n, 'oldIndex');
    const step = { to, flags: cells.number(n, 'flags'), length: SEGMENT_BYTES };
    // A cell of another epoch at the old place is damaged, not missing.
    const old = (await this.cells.get(oldIndex, to - 1)) ?? (await this.cells.get(oldIndex));
    const verdict = judge(step, staged, old && { epoch: old.epoch, length: old.body.length });
    if (verdict !== 'renew' || old === undefined) return verdict === 'renew' ? 'missing' : verdict;
    // A staged cell with other bytes is not part of this step. Remove it before staging.
    if (staged !== undefined) await this.cells.remove([cells.view(n, 'newIndex')]);
    return change(n, old.body);
  }
}

type Change = (n: number, body: Bytes) => Bytes;

/** Waits for all, also if one fails: the caller wipes the step's keys afterwards. @throws the first error */
async function all<T>(work: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(work);
  return Promise.all(work);
}

function breathe(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
