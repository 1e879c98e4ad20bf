import { type Bytes, compareBytes } from '@millrace/base';
import { INDEX_BYTES } from './sizes.ts';

/** START is below every index, END above every index. */
export const START: Bytes = new Uint8Array(INDEX_BYTES);
export const END: Bytes = new Uint8Array(INDEX_BYTES).fill(255);

/** Segments `from` (inclusive) to `to` (exclusive) of an owner. */
export interface Span<Owner> {
  readonly owner: Owner;
  readonly from: number;
  readonly to: number;
}

export interface PlanEntry<Owner> {
  /** A view of the plan's memory, which does not change. */
  readonly index: Bytes;
  readonly owner: Owner;
  readonly segment: number;
  /** Position in the plan; undefined for an entry that was added later. */
  readonly position?: number;
}

/** Hashes computed before the event loop gets a turn. */
const BREATH = 512;

const breathe = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/**
 * Cells in ascending order of an index that is computed, not stored: 28 bytes per cell. Building costs one Keccak hash
 * per cell (about 7 µs) and yields to the event loop between slices.
 */
export class Plan<Owner> {
  readonly #indexes: Bytes;
  readonly #owners: readonly Owner[];
  readonly #ownerOf: Uint32Array;
  readonly #segmentOf: Uint32Array;
  /** Cache of previous indexes. Each is needed twice. */
  #before: Bytes | undefined;
  #beforeKnown: Uint8Array | undefined;
  /** Entries added after building, in order. */
  #late: PlanEntry<Owner>[] = [];

  private constructor(indexes: Bytes, owners: readonly Owner[], ownerOf: Uint32Array, segmentOf: Uint32Array) {
    this.#indexes = indexes;
    this.#owners = owners;
    this.#ownerOf = ownerOf;
    this.#segmentOf = segmentOf;
  }

  static async build<Owner>(
    spans: readonly Span<Owner>[],
    indexOf: (owner: Owner, segment: number) => Bytes,
  ): Promise<Plan<Owner>> {
    const count = spans.reduce((total, { from, to }) => total + to - from, 0);
    const indexes = new Uint8Array(INDEX_BYTES * count);
    const spanOf = new Uint32Array(count);
    const segmentOf = new Uint32Array(count);
    let cell = 0;
    for (const [which, { owner, from, to }] of spans.entries()) {
      for (let segment = from; segment < to; segment++, cell++) {
        indexes.set(indexOf(owner, segment), INDEX_BYTES * cell);
        spanOf[cell] = which;
        segmentOf[cell] = segment;
        if (cell % BREATH === BREATH - 1) await breathe();
      }
    }
    const order = sortedOrder(indexes, count);
    const sorted = new Uint8Array(indexes.length);
    for (const [place, from] of order.entries()) {
      sorted.set(indexes.subarray(INDEX_BYTES * from, INDEX_BYTES * (from + 1)), INDEX_BYTES * place);
    }
    return new Plan(
      sorted,
      spans.map(({ owner }) => owner),
      Uint32Array.from(order, (from) => spanOf[from] ?? 0),
      Uint32Array.from(order, (from) => segmentOf[from] ?? 0),
    );
  }

  get count(): number {
    return this.#ownerOf.length + this.#late.length;
  }

  add(entries: readonly PlanEntry<Owner>[]): void {
    const added = [...entries].sort((a, b) => compareBytes(a.index, b.index));
    this.#late = merge(this.#late, added);
  }

  /** The cell's index in the epoch that ends. Computed once, then cached (21 bytes per cell). */
  before(entry: PlanEntry<Owner>, compute: () => Bytes): Bytes {
    const { position } = entry;
    if (position === undefined) return compute();
    this.#before ??= new Uint8Array(this.#indexes.length);
    this.#beforeKnown ??= new Uint8Array(this.#ownerOf.length);
    const place = this.#before.subarray(INDEX_BYTES * position, INDEX_BYTES * (position + 1));
    if (this.#beforeKnown[position] === 0) {
      place.set(compute());
      this.#beforeKnown[position] = 1;
    }
    return place;
  }

  /** Up to `limit` entries with index above `low`, in order. */
  after(low: Bytes, limit: number): PlanEntry<Owner>[] {
    const main: PlanEntry<Owner>[] = [];
    for (let i = this.#firstAbove(low); main.length < limit; i++) {
      const entry = this.#entry(i);
      if (entry === undefined) break;
      main.push(entry);
    }
    const start = firstAbove(this.#late.length, (i) => this.#late[i]?.index ?? END, low);
    return merge(main, this.#late.slice(start, start + limit)).slice(0, limit);
  }

  /** All entries with index above `low`, up to and including `high`. */
  between(low: Bytes, high: Bytes): PlanEntry<Owner>[] {
    const limit = this.rank(high) - this.rank(low);
    return limit <= 0 ? [] : this.after(low, limit);
  }

  /** Number of entries whose index is less than or equal to this one. */
  rank(index: Bytes): number {
    return this.#firstAbove(index) + firstAbove(this.#late.length, (i) => this.#late[i]?.index ?? END, index);
  }

  #firstAbove(index: Bytes): number {
    return firstAbove(this.#ownerOf.length, (i) => this.#indexAt(i), index);
  }

  #indexAt(i: number): Bytes {
    return this.#indexes.subarray(INDEX_BYTES * i, INDEX_BYTES * (i + 1));
  }

  #entry(i: number): PlanEntry<Owner> | undefined {
    const owner = this.#owners[this.#ownerOf[i] ?? -1];
    const segment = this.#segmentOf[i];
    return owner === undefined || segment === undefined
      ? undefined
      : { index: this.#indexAt(i), owner, segment, position: i };
  }
}

function firstAbove(count: number, at: (i: number) => Bytes, index: Bytes): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareBytes(at(middle), index) <= 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

function merge<Owner>(a: readonly PlanEntry<Owner>[], b: readonly PlanEntry<Owner>[]): PlanEntry<Owner>[] {
  const out: PlanEntry<Owner>[] = [];
  let i = 0;
  let j = 0;
  for (;;) {
    const left = a[i];
    const right = b[j];
    if (left === undefined || right === undefined) return out.concat(a.slice(i), b.slice(j));
    if (compareBytes(left.index, right.index) <= 0) {
      out.push(left);
      i++;
    } else {
      out.push(right);
      j++;
    }
  }
}

/**
 * Sorted order of cells. Packs 40 bits of each index and 24 bits of its number into one 64-bit word and sorts the
 * words, which needs no comparator, then corrects the few entries whose 40 bits are equal.
 */
function sortedOrder(indexes: Bytes, count: number): Uint32Array {
  if (count > 1 << 24) return sortedSlowly(indexes, count);
  const words = new BigUint64Array(count);
  const halves = new Uint32Array(words.buffer);
  const high = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1 ? 1 : 0; // the more significant half
  const view = new DataView(indexes.buffer, indexes.byteOffset);
  for (let cell = 0; cell < count; cell++) {
    halves[2 * cell + high] = view.getUint32(INDEX_BYTES * cell);
    halves[2 * cell + 1 - high] = view.getUint8(INDEX_BYTES * cell + 4) * 2 ** 24 + cell;
  }
  words.sort();
  const order = Uint32Array.from({ length: count }, (_, i) => (halves[2 * i + 1 - high] ?? 0) & 0xffffff);
  const prefix = (i: number): number => {
    const low = (halves[2 * i + 1 - high] ?? 0) >>> 24;
    return (halves[2 * i + high] ?? 0) * 256 + low;
  };
  const compare = comparer(indexes);
  for (let start = 0, end = 1; end <= count; end++) {
    if (end < count && prefix(end) === prefix(start)) continue;
    if (end - start > 1) order.subarray(start, end).sort(compare);
    start = end;
  }
  return order;
}

function sortedSlowly(indexes: Bytes, count: number): Uint32Array {
  return Uint32Array.from({ length: count }, (_, i) => i).sort(comparer(indexes));
}

function comparer(indexes: Bytes): (a: number, b: number) => number {
  return (a, b) =>
    compareBytes(
      indexes.subarray(INDEX_BYTES * a, INDEX_BYTES * (a + 1)),
      indexes.subarray(INDEX_BYTES * b, INDEX_BYTES * (b + 1)),
    );
}
