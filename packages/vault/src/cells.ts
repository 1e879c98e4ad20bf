import { createHash } from 'node:crypto';
import { type Bytes, compareBytes, concatBytes, copyBytes, MillraceError, toHex, u32be, wipe } from '@millrace/base';
import type { Store, Write } from '@millrace/stores';
import { CellFile } from './cell-file/cell-file.ts';
import { xorInto } from './cell-file/jobs.ts';
import { type Renewed, renewInFile } from './cell-file/renew.ts';
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
  type StoredMessage,
  type StoreMessage,
} from './messages.ts';
import { applyOuterLayer } from './outer.ts';
import { SEGMENT_BYTES } from './sizes.ts';

const HEADER = 4;
/** Cells worked on between two breaths of the event loop: about half a millisecond. */
const BREATH = 32;

/** Gives sealed segment n of the design that is being stored, and the hash its manifest names. */
export interface SealedSource {
  sealed(segment: number): Promise<Uint8Array> | Uint8Array;
  hash(segment: number): Uint8Array;
}

/**
 * The segments node's half of the storage live matrix: cells under their current outer layer, by index. Knows no content
 * key, no design and no order; the keys in messages are used for the moment and wiped by the caller (`wipeMessage`).
 * Every method may be called again with the same message.
 */
export class CellStore {
  readonly #store: Store;

  /** @param store Of its own: whatever else is in it counts as extra. */
  constructor(store: Store) {
    this.#store = store;
  }

  /**
   * Stores the cells of a `store` message: sealed segments from `source`, or decoys.
   * @throws {MillraceError} E_SEGMENT when a sealed segment is not the manifest's; then nothing of the message is stored
   */
  async storeCells(message: StoreMessage, source?: SealedSource): Promise<StoredMessage> {
    const writes: Write[] = [];
    for (const [i, { index, key, epoch }] of message.cells.entries()) {
      // A decoy made twice is the same one: it may also replace what is damaged.
      const existing = message.decoys ? undefined : await this.#store.get(index);
      if (existing === undefined || existing.length !== HEADER + SEGMENT_BYTES || epochOf(existing) !== epoch) {
        const sealed = await this.#take(message, i, source);
        writes.push({ put: index, value: cellValue(epoch, applyOuterLayer(key, sealed)) });
      }
      if (i % BREATH === BREATH - 1) await breathe();
    }
    await this.#store.batch(writes);
    const { design, generation, from, cells } = message;
    return { type: 'stored', design, generation, from, count: cells.length };
  }

  /**
   * One step of a sweep (spec/vault.md, section 6): stages the new cells and forgets the old ones of the step before, durably.
   */
  async maintain(message: MaintainMessage): Promise<MaintainedMessage> {
    const { workMs, ...outcome } =
      this.#store instanceof CellFile ? await renewInFile(this.#store, message) : await this.#renewHere(message);
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
   * A cell's body under its outer layer: 16,386 bytes.
   * @throws {MillraceError} E_CELL_MISSING, E_CELL_DAMAGED
   */
  async read(index: Uint8Array): Promise<Bytes> {
    const value = await this.#store.get(index);
    if (value === undefined) {
      throw new MillraceError('E_CELL_MISSING', `no cell ${toHex(index)}`, { data: { index: toHex(index) } });
    }
    if (value.length !== HEADER + SEGMENT_BYTES) {
      throw new MillraceError('E_CELL_DAMAGED', `cell ${toHex(index)} has a wrong length`, {
        data: { index: toHex(index) },
      });
    }
    return value.subarray(HEADER);
  }

  /** Removes what lies in a place; nothing when it is empty. */
  forget(index: Uint8Array): Promise<void> {
    return this.#store.delete(index);
  }

  /** Compares one part of what should be here with what is. */
  async check(message: CheckMessage): Promise<CheckedMessage> {
    const missing: Bytes[] = [];
    const extra: Bytes[] = [];
    const damaged: Bytes[] = [];
    const expected = message.cells.values();
    let next = expected.next();
    const absent = (cell: ExpectedCell): void => {
      if ((cell.flags & MAY_BE_ABSENT) === 0) missing.push(cell.index);
    };
    let looked = 0;
    for await (const { key, value } of this.#store.range({ gt: message.after, lte: message.upto })) {
      for (; !next.done && compareBytes(next.value.index, key) < 0; next = expected.next()) absent(next.value);
      if (!next.done && compareBytes(next.value.index, key) === 0) {
        if (!isSound(next.value, value)) damaged.push(key);
        next = expected.next();
      } else if (extra.length < MAX_CHECKED) {
        extra.push(key);
      }
      if (++looked % BREATH === 0) await breathe();
    }
    for (; !next.done; next = expected.next()) absent(next.value);
    return { type: 'checked', check: copyBytes(message.check), part: message.part, missing, extra, damaged };
  }

  async #take(message: StoreMessage, i: number, source: SealedSource | undefined): Promise<Uint8Array> {
    if (message.decoys) return decoyBytes(message.seeds[i] ?? new Uint8Array());
    const segment = message.from + i;
    const sealed = await source?.sealed(segment);
    if (sealed === undefined || source === undefined)
      throw new MillraceError('E_UPLOAD', `segment ${segment} is not here`);
    if (sealed.length !== SEGMENT_BYTES || compareBytes(sha256(sealed), source.hash(segment)) !== 0) {
      throw new MillraceError('E_SEGMENT', `sealed segment ${segment} is not the manifest’s`, { data: { segment } });
    }
    return sealed;
  }

  /** Over any store, in this thread. */
  async #renewHere(message: MaintainMessage): Promise<Renewed> {
    const started = performance.now();
    const writes: Write[] = [];
    const renewed: Renewed = { missing: [], damaged: [], workMs: 0 };
    const { items, masked, forget } = message;
    const renewAll = async (cells: MovedCells | MaskedCells, change: (n: number, body: Bytes) => Bytes) => {
      for (let n = 0; n < cells.count; n++) {
        const outcome = await this.#renew(cells, n, message.to, (body) => change(n, body));
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
    return { ...renewed, workMs: performance.now() - started };
  }

  /** @param change what makes the new body of (a copy of) the old one */
  async #renew(
    cells: MovedCells | MaskedCells,
    n: number,
    to: number,
    change: (body: Bytes) => Bytes,
  ): Promise<Write | 'done' | 'missing' | 'damaged'> {
    const newIndex = cells.view(n, 'newIndex');
    const staged = await this.#store.get(newIndex);
    if (staged !== undefined && epochOf(staged) === to) return 'done';
    const old = await this.#store.get(cells.view(n, 'oldIndex'));
    if (old === undefined) return (cells.number(n, 'flags') & MAY_BE_ABSENT) === 0 ? 'missing' : 'done';
    // The header keeps a layer from being applied twice, or to a cell that is not of the epoch before.
    if (old.length !== HEADER + SEGMENT_BYTES || epochOf(old) !== to - 1) return 'damaged';
    return { put: newIndex, value: cellValue(to, change(old.slice(HEADER))) };
  }
}

function isSound(expected: ExpectedCell, value: Bytes): boolean {
  if (value.length !== HEADER + SEGMENT_BYTES || epochOf(value) !== expected.epoch) return false;
  if (expected.key === undefined || expected.hash === undefined) return true;
  const sealed = applyOuterLayer(expected.key, value.subarray(HEADER));
  const sound = compareBytes(sha256(sealed), expected.hash) === 0;
  wipe(sealed);
  return sound;
}

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
