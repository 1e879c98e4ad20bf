import { createHash } from 'node:crypto';
import { type Bytes, compareBytes, copyBytes, equalBytes, MillraceError, toHex, wipe } from '@millrace/base';
import type { Cell, Cells, NewCell } from '@millrace/stores';
import { decoyBytes } from './decoys.ts';
import {
  type CheckedMessage,
  type CheckMessage,
  type ExpectedCell,
  MAX_CHECKED,
  MAY_BE_ABSENT,
  type MaintainedMessage,
  type MaintainMessage,
  type PlacedCell,
  type StoredMessage,
  type StoreMessage,
} from './messages.ts';
import { applyOuterLayer } from './outer.ts';
import { PointsPool } from './points/points-pool.ts';
import type { PointsEngine } from './points/work.ts';
import { type CellEngine, judge, type StepOutcome } from './renewal/engine.ts';
import { POINTS_BYTES, SEGMENT_BYTES } from './sizes.ts';

/** Cells processed before the event loop gets a turn: about half a millisecond. */
const BREATH = 32;

/** The outer layer of a sealed segment: AES-256-CTR, or points if there is a label. */
interface Layer {
  readonly key: Uint8Array;
  readonly label?: Uint8Array | undefined;
}

/** Returns sealed segment n of the design that is being stored. Its hash must match the manifest. */
export interface SealedSource {
  sealed(segment: number): Promise<Uint8Array> | Uint8Array;
  hash(segment: number): Uint8Array;
}

/**
 * The segments node's half of the storage live matrix: cells under their current outer layer, by index. It does not
 * know content keys, designs or the order of cells. It does not retain keys from messages; the caller wipes them
 * (`wipeMessage`). Every method may be called again with the same message.
 */
export class CellStore {
  readonly #engine: CellEngine;
  readonly #cells: Cells;
  readonly #points: PointsEngine;

  /**
   * @param engine Used by this object alone: any cell that it did not store counts as extra.
   * @param points Computes with points. The threads of the default engine end with the process.
   */
  constructor(engine: CellEngine, points: PointsEngine = new PointsPool()) {
    this.#engine = engine;
    this.#cells = engine.cells;
    this.#points = points;
  }

  /**
   * Stores the cells of a `store` message: sealed segments from `source`, or decoys.
   * @throws {MillraceError} E_SEGMENT if a sealed segment does not match the manifest; no cell of the message is then
   *   stored
   */
  async storeCells(message: StoreMessage, source?: SealedSource): Promise<StoredMessage> {
    const { design, generation, from, cells, labels } = message;
    const length = labels.length > 0 ? POINTS_BYTES : SEGMENT_BYTES;
    const heads = await this.#cells.heads(cells.map(({ index }) => index));
    const written: NewCell[] = [];
    const replaced: Bytes[] = [];
    const write = async (i: number, { index, key, epoch }: PlacedCell): Promise<void> => {
      const head = heads[i];
      const exists = head !== undefined && head.length === length && head.epoch === epoch;
      // Decoys are deterministic: writing one again also repairs it.
      if (exists && !message.decoys) return;
      const sealed = await this.#take(message, i, source);
      const body = await this.#putOn({ key, label: labels[i] }, sealed);
      if (exists && equalBytes(body, (await this.#cells.get(index))?.body ?? new Uint8Array())) return;
      if (head !== undefined) replaced.push(index);
      written.push({ index, epoch, body });
    };
    if (labels.length > 0) {
      await Promise.all(cells.map((cell, i) => write(i, cell)));
    } else {
      for (const [i, cell] of cells.entries()) {
        await write(i, cell);
        if (i % BREATH === BREATH - 1) await breathe();
      }
    }
    for (const epoch of new Set(written.map(({ epoch }) => epoch))) await this.#cells.create(epoch);
    if (replaced.length > 0) await this.#cells.remove(replaced);
    await this.#cells.put(written);
    return { type: 'stored', design, generation, from, count: cells.length };
  }

  /**
   * One step of a sweep (spec/vault.md, section 6): durably stages the new cells, removes the old cells of the previous
   * step, and drops the epochs older than the sweep.
   */
  async maintain(message: MaintainMessage): Promise<MaintainedMessage> {
    const { to, lane, number, fence } = message;
    await this.#cells.create(to);
    const points = await this.#renewPoints(message);
    const step = await this.#engine.renew(message, points.renewed);
    await this.#cells.drop(Math.max(0, to - 2));
    return {
      type: 'maintained',
      to,
      lane,
      number,
      fence,
      staged: points.staged + step.staged,
      absent: points.absent + step.absent,
      missing: [...points.missing, ...step.missing],
      damaged: [...points.damaged, ...step.damaged],
      work: Math.round(points.workMs + step.workMs),
    };
  }

  /**
   * A cell's body under its outer layer: 16,386 bytes, or 18,054 of points.
   * @throws {MillraceError} E_CELL_MISSING, E_CELL_DAMAGED
   */
  async read(index: Uint8Array): Promise<Bytes> {
    const cell = await this.#cells.get(index);
    if (cell === undefined) {
      throw new MillraceError('E_CELL_MISSING', `no cell ${toHex(index)}`, { data: { index: toHex(index) } });
    }
    if (!isLength(cell.body.length)) {
      throw new MillraceError('E_CELL_DAMAGED', `cell ${toHex(index)} has a wrong length`, {
        data: { index: toHex(index) },
      });
    }
    return cell.body;
  }

  /** Whether the cell at an index has the expected content; undefined if the cell is absent. */
  async holds(cell: Layer & { readonly index: Uint8Array; readonly hash: Uint8Array }): Promise<boolean | undefined> {
    const found = await this.#cells.get(cell.index);
    return found && (await this.#hides(cell, found.body, cell.hash));
  }

  /** Removes the cell at an index, if present. */
  forget(index: Uint8Array): Promise<void> {
    return this.#cells.remove([index]);
  }

  /** Compares one part of the expected cells with the stored cells. */
  async check(message: CheckMessage): Promise<CheckedMessage> {
    const found = message.deep ? await this.#checkContents(message) : await this.#checkPlaces(message);
    return { type: 'checked', check: copyBytes(message.check), part: message.part, ...found };
  }

  async #checkPlaces(message: CheckMessage): Promise<Pick<CheckedMessage, 'missing' | 'extra' | 'damaged'>> {
    const missing: Bytes[] = [];
    const extra: Bytes[] = [];
    const damaged: Bytes[] = [];
    const expected = message.cells.values();
    let next = expected.next();
    const absent = (cell: ExpectedCell): void => {
      if ((cell.flags & MAY_BE_ABSENT) === 0) missing.push(cell.index);
    };
    let looked = 0;
    for await (const { index, epoch, length } of this.#cells.outline({ after: message.after, upto: message.upto })) {
      for (; !next.done && compareBytes(next.value.index, index) < 0; next = expected.next()) absent(next.value);
      if (!next.done && compareBytes(next.value.index, index) === 0) {
        if (!isLength(length) || epoch !== next.value.epoch) damaged.push(index);
        next = expected.next();
      } else if (epoch >= message.oldest && extra.length < MAX_CHECKED) {
        extra.push(index);
      }
      if (++looked % BREATH === 0) await breathe();
    }
    for (; !next.done; next = expected.next()) absent(next.value);
    return { missing, extra, damaged };
  }

  /** Checks only the named cells. */
  async #checkContents({ cells }: CheckMessage): Promise<Pick<CheckedMessage, 'missing' | 'extra' | 'damaged'>> {
    const missing: Bytes[] = [];
    const damaged: Bytes[] = [];
    for (const [looked, cell] of cells.entries()) {
      const found = await this.#cells.get(cell.index);
      if (found === undefined) {
        if ((cell.flags & MAY_BE_ABSENT) === 0) missing.push(cell.index);
      } else if (!(await this.#isSound(cell, found))) damaged.push(cell.index);
      if (looked % BREATH === BREATH - 1) await breathe();
    }
    return { missing, extra: [], damaged };
  }

  async #isSound({ epoch, key, hash, label }: ExpectedCell, cell: Cell): Promise<boolean> {
    if (!isLength(cell.body.length) || cell.epoch !== epoch) return false;
    return key === undefined || hash === undefined || this.#hides({ key, label }, cell.body, hash);
  }

  async #putOn({ key, label }: Layer, sealed: Uint8Array): Promise<Bytes> {
    if (label === undefined) return applyOuterLayer(key, sealed);
    return (await this.#points.run({ kind: 'add', scalar: key, label, bytes: sealed })).bytes;
  }

  /** Whether the layer hides a sealed segment with this hash. */
  async #hides({ key, label }: Layer, body: Bytes, hash: Uint8Array): Promise<boolean> {
    if (body.length !== (label === undefined ? SEGMENT_BYTES : POINTS_BYTES)) return false;
    let sealed: Bytes;
    try {
      sealed =
        label === undefined
          ? applyOuterLayer(key, body)
          : (await this.#points.run({ kind: 'takeOff', scalar: key, label, bytes: body })).bytes;
    } catch (error) {
      if (error instanceof MillraceError && (error.code === 'E_SEAL' || error.code === 'E_CELL_DAMAGED')) return false;
      throw error;
    }
    const sound = compareBytes(sha256(sealed), hash) === 0;
    wipe(sealed);
    return sound;
  }

  async #take(message: StoreMessage, i: number, source: SealedSource | undefined): Promise<Uint8Array> {
    if (message.decoys) return decoyBytes(message.seeds[i] ?? new Uint8Array());
    const segment = message.from + i;
    const sealed = await source?.sealed(segment);
    if (sealed === undefined || source === undefined)
      throw new MillraceError('E_UPLOAD', `segment ${segment} is missing`);
    if (sealed.length !== SEGMENT_BYTES || compareBytes(sha256(sealed), source.hash(segment)) !== 0) {
      throw new MillraceError('E_SEGMENT', `sealed segment ${segment} does not match the manifest`, {
        data: { segment },
      });
    }
    return sealed;
  }

  /** Renews the cells of points in parallel: the engine uses threads. They are written with the step. */
  async #renewPoints({ to, points }: MaintainMessage): Promise<StepOutcome & { readonly renewed: NewCell[] }> {
    const outcome = { missing: [] as Bytes[], damaged: [] as Bytes[], renewed: [] as NewCell[], staged: 0, absent: 0 };
    let workMs = 0;
    const renew = async (n: number): Promise<void> => {
      const index = points.view(n, 'newIndex').slice();
      const oldIndex = points.view(n, 'oldIndex');
      const [staged] = await this.#cells.heads([index], to);
      const old = (await this.#cells.get(oldIndex, to - 1)) ?? (await this.#cells.get(oldIndex));
      const step = { to, flags: points.number(n, 'flags'), length: POINTS_BYTES };
      const verdict = judge(step, staged, old && { epoch: old.epoch, length: old.body.length });
      if (verdict === 'missing' || verdict === 'damaged') outcome[verdict].push(index);
      if (verdict === 'staged' || verdict === 'absent') outcome[verdict]++;
      if (verdict !== 'renew' || old === undefined) return;
      const job = { scalar: points.view(n, 'token'), label: points.view(n, 'label'), bytes: old.body };
      try {
        const done = await this.#points.run({ kind: 'move', ...job });
        workMs += done.workMs;
        // A staged cell with other bytes is not part of this step. Remove it before staging.
        if (staged !== undefined) await this.#cells.remove([index]);
        outcome.renewed.push({ index, epoch: to, body: done.bytes });
      } catch (error) {
        if (!(error instanceof MillraceError && error.code === 'E_CELL_DAMAGED')) throw error;
        outcome.damaged.push(index);
      }
    };
    await Promise.all(Array.from({ length: points.count }, (_, n) => renew(n)));
    return { ...outcome, workMs };
  }
}

const isLength = (length: number): boolean => length === SEGMENT_BYTES || length === POINTS_BYTES;

function sha256(bytes: Uint8Array): Bytes {
  return copyBytes(createHash('sha256').update(bytes).digest());
}

function breathe(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
