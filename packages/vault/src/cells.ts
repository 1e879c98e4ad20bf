import { createHash } from 'node:crypto';
import { type Bytes, compareBytes, concatBytes, copyBytes, MillraceError, toHex, u32be, wipe } from '@millrace/base';
import type { Range, Store, Write } from '@millrace/stores';
import { CellFile, type Outline } from './cell-file/cell-file.ts';
import { xorInto } from './cell-file/jobs.ts';
import { type Renewed, type RenewedPoints, renewInFile } from './cell-file/renew.ts';
import { decoyBytes } from './decoys.ts';
import {
  type CheckedMessage,
  type CheckMessage,
  type ExpectedCell,
  MAX_CHECKED,
  MAY_BE_ABSENT,
  type MaintainedMessage,
  type MaintainMessage,
  type MaskedCells,
  type MovedCells,
  type PlacedCell,
  type PointsCells,
  type StoredMessage,
  type StoreMessage,
} from './messages.ts';
import { applyOuterLayer } from './outer.ts';
import { PointsPool } from './points/points-pool.ts';
import type { PointsEngine } from './points/work.ts';
import { POINTS_BYTES, SEGMENT_BYTES } from './sizes.ts';

const HEADER = 4;
/** Cells processed before the event loop gets a turn: about half a millisecond. */
const BREATH = 32;

/** The outer layer of a sealed segment: AES-256-CTR, or points, which have a label. */
interface Layer {
  readonly key: Uint8Array;
  readonly label?: Uint8Array | undefined;
}

/** Gives sealed segment n of the design that is being stored, and the hash its manifest names. */
export interface SealedSource {
  sealed(segment: number): Promise<Uint8Array> | Uint8Array;
  hash(segment: number): Uint8Array;
}

/**
 * The segments node's half of the storage live matrix: cells under their current outer layer, by index. It knows no
 * content keys, designs or order of cells. It does not keep the keys in messages; the caller wipes them
 * (`wipeMessage`). Every method may be called again with the same message.
 */
export class CellStore {
  readonly #store: Store;
  readonly #points: PointsEngine;

  /**
   * @param store Used by this object alone: any other key in it counts as an extra cell.
   * @param points Runs the arithmetic of points. The threads of the default end with the process.
   */
  constructor(store: Store, points: PointsEngine = new PointsPool()) {
    this.#store = store;
    this.#points = points;
  }

  /**
   * Stores the cells of a `store` message: sealed segments from `source`, or decoys.
   * @throws {MillraceError} E_SEGMENT if a sealed segment does not match the manifest; then nothing of the message is stored
   */
  async storeCells(message: StoreMessage, source?: SealedSource): Promise<StoredMessage> {
    const { design, generation, from, cells, labels } = message;
    const length = HEADER + (labels.length > 0 ? POINTS_BYTES : SEGMENT_BYTES);
    const write = async (i: number, { index, key, epoch }: PlacedCell): Promise<Write[]> => {
      // Decoys are deterministic: writing one again also repairs it.
      const existing = message.decoys ? undefined : await this.#store.get(index);
      if (existing !== undefined && existing.length === length && epochOf(existing) === epoch) return [];
      const sealed = await this.#take(message, i, source);
      return [{ put: index, value: cellValue(epoch, await this.#putOn({ key, label: labels[i] }, sealed)) }];
    };
    const writes: Write[] = [];
    if (labels.length > 0) {
      writes.push(...(await Promise.all(cells.map((cell, i) => write(i, cell)))).flat());
    } else {
      for (const [i, cell] of cells.entries()) {
        writes.push(...(await write(i, cell)));
        if (i % BREATH === BREATH - 1) await breathe();
      }
    }
    await this.#store.batch(writes);
    return { type: 'stored', design, generation, from, count: cells.length };
  }

  /**
   * One step of a sweep (spec/vault.md, section 6): durably stages the new cells and removes the old cells of the previous step.
   */
  async maintain(message: MaintainMessage): Promise<MaintainedMessage> {
    const points = await this.#renewPoints(message);
    const { workMs, ...outcome } =
      this.#store instanceof CellFile
        ? await renewInFile(this.#store, message, points)
        : await this.#renewHere(message, points);
    return {
      type: 'maintained',
      to: message.to,
      number: message.number,
      missing: outcome.missing,
      damaged: outcome.damaged,
      work: Math.round(workMs),
    };
  }

  /**
   * A cell's body under its outer layer: 16,386 bytes, or 18,054 of points.
   * @throws {MillraceError} E_CELL_MISSING, E_CELL_DAMAGED
   */
  async read(index: Uint8Array): Promise<Bytes> {
    const value = await this.#store.get(index);
    if (value === undefined) {
      throw new MillraceError('E_CELL_MISSING', `no cell ${toHex(index)}`, { data: { index: toHex(index) } });
    }
    if (!isCell(value)) {
      throw new MillraceError('E_CELL_DAMAGED', `cell ${toHex(index)} has a wrong length`, {
        data: { index: toHex(index) },
      });
    }
    return value.subarray(HEADER);
  }

  /** Whether the cell at an index has the expected content; undefined if there is none. */
  async holds(cell: Layer & { readonly index: Uint8Array; readonly hash: Uint8Array }): Promise<boolean | undefined> {
    const value = await this.#store.get(cell.index);
    return value && isCell(value) && (await this.#hides(cell, value.subarray(HEADER), cell.hash));
  }

  /** Removes the cell at an index, if there is one. */
  forget(index: Uint8Array): Promise<void> {
    return this.#store.delete(index);
  }

  /** Compares one part of the expected cells with the stored ones. */
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
    for await (const { key, length, head } of this.#outline({ gt: message.after, lte: message.upto })) {
      for (; !next.done && compareBytes(next.value.index, key) < 0; next = expected.next()) absent(next.value);
      if (!next.done && compareBytes(next.value.index, key) === 0) {
        if (!isCell({ length }) || epochOf(head) !== next.value.epoch) damaged.push(key);
        next = expected.next();
      } else if (extra.length < MAX_CHECKED) {
        extra.push(key);
      }
      if (++looked % BREATH === 0) await breathe();
    }
    for (; !next.done; next = expected.next()) absent(next.value);
    return { missing, extra, damaged };
  }

  async *#outline(range: Range): AsyncGenerator<Outline> {
    if (this.#store instanceof CellFile) return yield* this.#store.outline(range);
    for await (const { key, value } of this.#store.range(range)) yield { key, length: value.length, head: value };
  }

  /** Checks the named cells only. */
  async #checkContents({ cells }: CheckMessage): Promise<Pick<CheckedMessage, 'missing' | 'extra' | 'damaged'>> {
    const missing: Bytes[] = [];
    const damaged: Bytes[] = [];
    for (const [looked, cell] of cells.entries()) {
      const value = await this.#store.get(cell.index);
      if (value === undefined) {
        if ((cell.flags & MAY_BE_ABSENT) === 0) missing.push(cell.index);
      } else if (!(await this.#isSound(cell, value))) damaged.push(cell.index);
      if (looked % BREATH === BREATH - 1) await breathe();
    }
    return { missing, extra: [], damaged };
  }

  async #isSound({ epoch, key, hash, label }: ExpectedCell, value: Bytes): Promise<boolean> {
    if (!isCell(value) || epochOf(value) !== epoch) return false;
    return key === undefined || hash === undefined || this.#hides({ key, label }, value.subarray(HEADER), hash);
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

  /** Renews the cells of points, all at once: the engine has threads. */
  async #renewPoints({ to, points }: MaintainMessage): Promise<RenewedPoints> {
    const renewed: RenewedPoints = { missing: [], damaged: [], workMs: 0, writes: [] };
    let workMs = 0;
    const renew = async (n: number): Promise<void> => {
      const outcome = await this.#renew(points, n, to, POINTS_BYTES, async (bytes) => {
        const job = { scalar: points.view(n, 'token'), label: points.view(n, 'label'), bytes };
        const done = await this.#points.run({ kind: 'move', ...job });
        workMs += done.workMs;
        return done.bytes;
      });
      if (outcome === 'missing' || outcome === 'damaged') renewed[outcome].push(points.view(n, 'newIndex').slice());
      else if (outcome !== 'done') renewed.writes.push(outcome);
    };
    await Promise.all(Array.from({ length: points.count }, (_, n) => renew(n)));
    return { ...renewed, workMs };
  }

  /** Over any store, in this thread. */
  async #renewHere(message: MaintainMessage, points: RenewedPoints): Promise<Renewed> {
    const started = performance.now();
    const writes: Write[] = [...points.writes];
    const renewed = { missing: points.missing, damaged: points.damaged };
    const { items, masked, forget } = message;
    const renewAll = async (cells: MovedCells | MaskedCells, change: (n: number, body: Bytes) => Bytes) => {
      for (let n = 0; n < cells.count; n++) {
        const outcome = await this.#renew(cells, n, message.to, SEGMENT_BYTES, (body) => change(n, body));
        if (outcome === 'missing' || outcome === 'damaged') renewed[outcome].push(cells.view(n, 'newIndex').slice());
        else if (outcome !== 'done') writes.push(outcome);
        if (n % BREATH === BREATH - 1) await breathe();
      }
    };
    await renewAll(items, (n, body) => {
      const sealed = applyOuterLayer(items.view(n, 'oldKey'), body);
      const renewed = applyOuterLayer(items.view(n, 'newKey'), sealed);
      wipe(sealed);
      return renewed;
    });
    await renewAll(masked, (n, body) => xorInto(body, masked.view(n, 'mask')));
    for (let n = 0; n < forget.count; n++) writes.push({ delete: forget.view(n, 'index') });
    if (writes.length > 0) await this.#store.batch(writes);
    return { ...renewed, workMs: points.workMs + performance.now() - started };
  }

  /** @param change turns a copy of the old body, of `length` bytes, into the new body */
  async #renew(
    cells: MovedCells | MaskedCells | PointsCells,
    n: number,
    to: number,
    length: number,
    change: (body: Bytes) => Promise<Bytes> | Bytes,
  ): Promise<{ readonly put: Bytes; readonly value: Bytes } | 'done' | 'missing' | 'damaged'> {
    const newIndex = cells.view(n, 'newIndex');
    const staged = await this.#store.get(newIndex);
    if (staged !== undefined && epochOf(staged) === to) return 'done';
    const old = await this.#store.get(cells.view(n, 'oldIndex'));
    if (old === undefined) return (cells.number(n, 'flags') & MAY_BE_ABSENT) === 0 ? 'missing' : 'done';
    // The header prevents applying a layer twice, or to a cell that is not of the previous epoch.
    if (old.length !== HEADER + length || epochOf(old) !== to - 1) return 'damaged';
    try {
      return { put: newIndex, value: cellValue(to, await change(old.slice(HEADER))) };
    } catch (error) {
      if (error instanceof MillraceError && error.code === 'E_CELL_DAMAGED') return 'damaged';
      throw error;
    }
  }
}

const isCell = ({ length }: { readonly length: number }): boolean =>
  length === HEADER + SEGMENT_BYTES || length === HEADER + POINTS_BYTES;

function cellValue(epoch: number, body: Uint8Array): Bytes {
  return concatBytes(u32be(epoch), body);
}

function epochOf(value: Bytes): number {
  return value.length < HEADER ? -1 : new DataView(value.buffer, value.byteOffset).getUint32(0);
}

function sha256(bytes: Uint8Array): Bytes {
  return copyBytes(createHash('sha256').update(bytes).digest());
}

function breathe(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
