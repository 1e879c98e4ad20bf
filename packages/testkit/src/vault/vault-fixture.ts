import { type Bytes, compareBytes, equalBytes, MillraceError, systemRandom, toHex } from '@millrace/base';
import {
  type Cells,
  type IndexRange,
  type Log,
  type LogWriter,
  MemoryCells,
  MemoryLog,
  type NewCell,
  type Range,
} from '@millrace/stores';
import {
  applyOuterLayer,
  type CellName,
  CellStore,
  type CheckReport,
  CONTENT_BYTES,
  createKeyWrapper,
  decodeMessage,
  encodeMessage,
  InProcessEngine,
  type MaintenanceMode,
  MemorySlots,
  openSegment,
  Playbook,
  type PointsEngine,
  prepareDesign,
  readManifest,
  type SealedDesign,
  type SliceCell,
  type Slots,
  segmentHash,
  type VaultMessage,
} from '@millrace/vault';
import { numbers } from './numbers.mjs';

/** Thrown in place of killing the process. */
export class Killed extends Error {}

/**
 * Kills the process at the n-th durable write from now on, before or after the write. The next `mend` restarts the
 * process.
 */
export class Fuse {
  #left = Number.POSITIVE_INFINITY;
  #when: 'before' | 'after' = 'before';
  dead = false;
  /** Number of durable writes so far. */
  writes = 0;

  arm(nth: number, when: 'before' | 'after'): void {
    this.#left = nth;
    this.#when = when;
  }

  mend(): void {
    this.dead = false;
    this.#left = Number.POSITIVE_INFINITY;
  }

  check(): void {
    if (this.dead) throw new Killed();
  }

  async write<T>(work: () => Promise<T>): Promise<T> {
    this.check();
    this.writes++;
    const now = --this.#left === 0;
    if (now && this.#when === 'before') this.#die();
    const result = await work();
    if (now) this.#die();
    return result;
  }

  #die(): never {
    this.dead = true;
    throw new Killed();
  }
}

class FusedLog implements Log {
  readonly inner: Log;
  readonly fuse: Fuse;

  constructor(inner: Log, fuse: Fuse) {
    this.inner = inner;
    this.fuse = fuse;
  }

  async get(key: Uint8Array) {
    this.fuse.check();
    return this.inner.get(key);
  }
  async getMany(keys: readonly Uint8Array[]) {
    this.fuse.check();
    return this.inner.getMany(keys);
  }
  range(options?: Range) {
    this.fuse.check();
    return this.inner.range(options);
  }
  async acquire(): Promise<LogWriter> {
    const { token, append } = await this.fuse.write(() => this.inner.acquire());
    return {
      token,
      append: async (writes) => {
        // An empty batch writes nothing.
        if (writes.length > 0) return this.fuse.write(() => append(writes));
        this.fuse.check();
        return append(writes);
      },
    };
  }
  async close() {}
}

/** Every cell is a separate write, because the port promises no more. */
class FusedCells implements Cells {
  readonly inner: Cells;
  readonly fuse: Fuse;

  constructor(inner: Cells, fuse: Fuse) {
    this.inner = inner;
    this.fuse = fuse;
  }

  create(epoch: number) {
    return this.fuse.write(() => this.inner.create(epoch));
  }
  async put(cells: readonly NewCell[]) {
    this.fuse.check();
    for (const cell of cells) await this.fuse.write(() => this.inner.put([cell]));
  }
  async get(index: Uint8Array) {
    this.fuse.check();
    return this.inner.get(index);
  }
  async heads(indexes: readonly Uint8Array[]) {
    this.fuse.check();
    return this.inner.heads(indexes);
  }
  outline(range?: IndexRange) {
    this.fuse.check();
    return this.inner.outline(range);
  }
  async remove(indexes: readonly Uint8Array[]) {
    this.fuse.check();
    for (const index of indexes) await this.fuse.write(() => this.inner.remove([index]));
  }
  drop(epoch: number) {
    return this.fuse.write(() => this.inner.drop(epoch));
  }
  async close() {}
}

class FusedSlots implements Slots {
  readonly inner: Slots;
  readonly fuse: Fuse;

  constructor(inner: Slots, fuse: Fuse) {
    this.inner = inner;
    this.fuse = fuse;
  }

  async read(slot: number) {
    this.fuse.check();
    return this.inner.read(slot);
  }
  write(slot: number, content: Uint8Array) {
    return this.fuse.write(() => this.inner.write(slot, content));
  }
  erase(slot: number) {
    return this.fuse.write(() => this.inner.erase(slot));
  }
  async count() {
    this.fuse.check();
    return this.inner.count();
  }
  async close() {}
}

/**
 * One direction of the mailbox. Ordered; messages that were taken but not acknowledged are delivered again after a
 * crash.
 */
export class Line {
  readonly #waiting: Bytes[] = [];
  #taken: Bytes[] = [];
  readonly #ackLag: number;

  constructor(ackLag: number) {
    this.#ackLag = ackLag;
  }

  /** Identical waiting messages are one message, as with one mail id. */
  send(message: VaultMessage): void {
    const bytes = encodeMessage(message);
    if (![...this.#taken, ...this.#waiting].some((other) => equalBytes(other, bytes))) this.#waiting.push(bytes);
  }

  take(): VaultMessage | undefined {
    const bytes = this.#waiting[0];
    return bytes && decodeMessage(bytes);
  }

  done(): void {
    const bytes = this.#waiting.shift();
    if (bytes !== undefined) this.#taken.push(bytes);
    this.#taken = this.#ackLag === 0 ? [] : this.#taken.slice(-this.#ackLag);
  }

  crash(): void {
    this.#waiting.unshift(...this.#taken);
    this.#taken = [];
  }

  get length(): number {
    return this.#waiting.length;
  }
}

export interface Upload extends SealedDesign {
  readonly content: Bytes;
  readonly sealed: readonly Bytes[];
}

const OWNER = new Uint8Array(33).fill(2);

export async function makeUpload(size: number, fill?: number, maintenance?: MaintenanceMode): Promise<Upload> {
  const content = fill === undefined ? systemRandom(size) : new Uint8Array(size).fill(fill);
  const sealed: Bytes[] = [];
  const prepared = await prepareDesign(
    (async function* () {
      yield content;
    })(),
    {
      kind: 'binary',
      owner: OWNER,
      sink: (_, bytes) => void sealed.push(bytes),
      describe: ({ segments }) => ({ times: new Array(segments).fill(100), ...(maintenance && { maintenance }) }),
    },
  );
  return { ...prepared, content, sealed };
}

export interface VaultFixtureOptions {
  readonly density?: number;
  readonly minimumDecoys?: number;
  readonly batch?: number;
  readonly ackLag?: number;
  /** Lanes of a sweep; default 1. */
  readonly lanes?: number;
  /** Engine for points. By default it uses plain numbers. */
  readonly points?: PointsEngine;
  /** Raw stores that outlive this object. */
  readonly stores?: { keys: Log; cells: Cells; epochSlots: Slots; designSlots: Slots; kek: Bytes };
}

/** Opens a segment as a machine does. @throws {MillraceError} E_SEAL, E_CELL_DAMAGED */
export async function takeOffLayer(
  points: PointsEngine,
  { outerKey, label }: Pick<SliceCell, 'outerKey' | 'label'>,
  body: Bytes,
): Promise<Bytes> {
  if (label === undefined) return applyOuterLayer(outerKey, body);
  return (await points.run({ kind: 'takeOff', scalar: outerKey, label, bytes: body })).bytes;
}

/** Both halves of the vault and the mail between them, with simulated crashes. */
export class VaultFixture {
  readonly keysFuse = new Fuse();
  readonly cellsFuse = new Fuse();
  readonly toKeys: Line;
  readonly toCells: Line;
  readonly uploads = new Map<string, Upload>();
  readonly deleted = new Set<string>();
  readonly problems: CellName[] = [];
  readonly #options: VaultFixtureOptions;
  readonly #raw: NonNullable<VaultFixtureOptions['stores']>;
  readonly points: PointsEngine;
  density: number;
  playbook!: Playbook;
  cells!: CellStore;

  private constructor(options: VaultFixtureOptions) {
    this.#options = options;
    this.points = options.points ?? numbers;
    this.density = options.density ?? 50;
    this.toKeys = new Line(options.ackLag ?? 0);
    this.toCells = new Line(options.ackLag ?? 0);
    this.#raw = options.stores ?? {
      keys: new MemoryLog(),
      cells: new MemoryCells(),
      epochSlots: new MemorySlots(),
      designSlots: new MemorySlots(),
      kek: systemRandom(32),
    };
  }

  static async create(options: VaultFixtureOptions = {}): Promise<VaultFixture> {
    const fixture = new VaultFixture(options);
    await fixture.startKeys();
    fixture.startCells();
    return fixture;
  }

  get raw(): NonNullable<VaultFixtureOptions['stores']> {
    return this.#raw;
  }

  async startKeys(): Promise<void> {
    this.keysFuse.mend();
    this.toKeys.crash();
    const { keys, epochSlots, designSlots, kek } = this.#raw;
    this.playbook = await Playbook.open({
      log: new FusedLog(keys, this.keysFuse),
      epochSlots: new FusedSlots(epochSlots, this.keysFuse),
      designSlots: new FusedSlots(designSlots, this.keysFuse),
      wrapper: createKeyWrapper(kek),
      density: this.density,
      minimumDecoys: this.#options.minimumDecoys ?? 0,
    });
  }

  startCells(): void {
    this.cellsFuse.mend();
    this.toCells.crash();
    this.cells = new CellStore(new InProcessEngine(new FusedCells(this.#raw.cells, this.cellsFuse)), this.points);
  }

  /** Runs a task that may be killed, and restarts the killed process. @returns false if it was killed */
  async survive(work: () => Promise<unknown>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (error) {
      if (!(error instanceof Killed)) throw error;
      if (this.cellsFuse.dead) this.startCells();
      while (this.keysFuse.dead) {
        await this.startKeys().catch((again: unknown) => {
          if (!(again instanceof Killed)) throw again;
        });
      }
      return false;
    }
  }

  async add(upload: Upload): Promise<void> {
    this.uploads.set(upload.designId, upload);
    const { manifest, ceks: keys } = upload;
    while (!(await this.survive(() => this.playbook.addDesign({ manifest, keys }))));
    this.want(upload.designId);
  }

  /** Requests places for the next segments, as the segments node does. */
  want(design: string, count = 3): void {
    const known = this.playbook.designs().find((view) => view.design === design);
    if (known === undefined || known.complete) return;
    this.toKeys.send({ type: 'want', design: Buffer.from(design, 'hex'), from: known.stored, count });
  }

  async stepCells(): Promise<void> {
    const message = this.toCells.take();
    if (message === undefined) return;
    if (message.type === 'store') {
      const upload = this.uploads.get(toHex(message.design));
      const manifest = upload && readManifest(upload.manifest);
      const source = upload &&
        manifest && {
          sealed: (n: number) => upload.sealed[n] ?? new Uint8Array(),
          hash: (n: number) => segmentHash(manifest, n),
        };
      this.toKeys.send(await this.cells.storeCells(message, source));
    } else if (message.type === 'maintain') {
      this.toKeys.send(await this.cells.maintain(message));
    } else if (message.type === 'check') {
      this.toKeys.send(await this.cells.check(message));
    }
    this.toCells.done();
  }

  async stepKeys(): Promise<void> {
    const message = this.toKeys.take();
    if (message === undefined) return;
    if (message.type === 'want') {
      try {
        const store = await this.playbook.instruct(message);
        if (store !== undefined) this.toCells.send(store);
      } catch (error) {
        if (!(error instanceof MillraceError && error.code === 'E_NOT_FOUND')) throw error;
      }
    } else if (message.type === 'stored') {
      const outcome = await this.playbook.stored(message);
      if (outcome !== undefined && !outcome.complete && !outcome.decoys) this.want(outcome.design);
    } else if (message.type === 'maintained') {
      const outcome = await this.playbook.maintained(message);
      this.problems.push(...(outcome?.missing ?? []), ...(outcome?.damaged ?? []));
    }
    this.toKeys.done();
  }

  /** Runs the work of the keys node's timer. */
  async tick(): Promise<void> {
    const decoys = await this.playbook.decoyWork({ limit: 4 });
    if (decoys !== undefined) this.toCells.send(decoys);
    const batch = this.#options.batch ?? 3;
    for (const lane of this.playbook.status().sweep?.lanes ?? []) {
      const message = await this.playbook.nextMaintenance(batch, lane);
      if (message !== undefined) this.toCells.send(message);
      // Later calls may invalidate the message computed in advance.
      await this.playbook.lookAhead(batch, lane);
    }
  }

  async delete(design: string): Promise<void> {
    await this.playbook.deleteDesign(design);
    this.deleted.add(design);
  }

  /** Runs both nodes until all work is done. */
  async settle(): Promise<void> {
    for (let round = 0; round < 2000; round++) {
      const before = `${this.toCells.length} ${this.toKeys.length}`;
      await this.survive(() => this.tick());
      while (this.toCells.length > 0) await this.survive(() => this.stepCells());
      while (this.toKeys.length > 0) await this.survive(() => this.stepKeys());
      for (const { design } of this.playbook.designs()) this.want(design);
      const { sweep, decoys, decoysWanted } = this.playbook.status();
      const idle = this.toCells.length + this.toKeys.length === 0 && before === '0 0';
      if (
        idle &&
        sweep === undefined &&
        decoys >= decoysWanted &&
        this.playbook.designs().every(({ complete }) => complete)
      )
        return;
    }
    throw new Error('the nodes do not become idle');
  }

  beginSweep(): Promise<boolean> {
    return this.playbook.beginSweep(this.#options.lanes);
  }

  async sweep(): Promise<void> {
    await this.beginSweep();
    await this.settle();
  }

  /** Opens a design as a machine would. Fails if the bytes differ from the owner's. */
  async readDesign(design: string): Promise<Bytes> {
    const { designSecret } = this.uploads.get(design) ?? { designSecret: new Uint8Array(32) };
    const manifest = readManifest(await this.playbook.manifest(design));
    const out = new Uint8Array(manifest.segments * CONTENT_BYTES);
    for (const cell of await this.playbook.slice(design, 0, manifest.segments)) {
      const { segment, cek } = cell;
      const sealed = await takeOffLayer(this.points, cell, await this.cells.read(cell.index));
      const final = segment === manifest.segments - 1;
      out.set(
        openSegment({ cek, designSecret, sealed, designNonce: manifest.nonce, number: segment, final }),
        segment * CONTENT_BYTES,
      );
    }
    return out.subarray(0, manifest.size);
  }

  /** Checks that every complete design can be read, regardless of pending mail. */
  async assertReadable(): Promise<void> {
    for (const { design, complete } of this.playbook.designs()) {
      if (!complete) continue;
      const content = await this.readDesign(design);
      const upload = this.uploads.get(design);
      if (upload === undefined || compareBytes(content, upload.content) !== 0)
        throw new Error(`design ${design} differs`);
    }
  }

  async check(deep = true): Promise<CheckReport> {
    const run = await this.playbook.beginCheck({ deep });
    if (run === undefined) throw new Error('a message is under way');
    try {
      for (let message = await run.next(5); message !== undefined; message = await run.next(5)) {
        const wire = decodeMessage(encodeMessage(message));
        if (wire.type !== 'check') throw new Error('not a check');
        run.take(await this.cells.check(wire));
      }
      return run.report();
    } finally {
      run.end();
    }
  }

  /** Cells of the current epoch and later ones, or all if sweeps remove the old places. */
  async countCells(): Promise<number> {
    const oldest = (this.#options.lanes ?? 1) === 1 ? 0 : this.playbook.status().epoch;
    let count = 0;
    for await (const cell of this.#raw.cells.outline()) if (cell.epoch >= oldest) count++;
    return count;
  }
}
