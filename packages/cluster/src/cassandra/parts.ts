import { type Bytes, compareBytes, toHex } from '@millrace/base';
import type { Session } from './session.ts';

const PAGE = 1_000;

/** The first bytes of a key, which choose its partition. Keys in order have parts in order. */
export function partOf(key: Uint8Array, bytes: number): Bytes {
  return key.slice(0, bytes) as Bytes;
}

/** Bounds, both included. */
export interface PartRange {
  readonly from?: Bytes;
  readonly to?: Bytes;
  readonly reverse?: boolean;
}

/** Lists of the partitions that a table has, so that it can be read in the order of keys. */
export class Parts {
  readonly #session: Session;
  /** Parts that this process has added, by list. */
  readonly #added = new Map<string, Set<string>>();

  constructor(session: Session) {
    this.#session = session;
  }

  /** Call it before the first row of the partition is written. */
  async add(list: string, part: Bytes): Promise<void> {
    const added = this.#added.get(list) ?? new Set();
    this.#added.set(list, added);
    const name = toHex(part);
    if (added.has(name)) return;
    // The constant timestamp does not tell when the first row was written.
    await this.#session.run('INSERT INTO parts (list, part) VALUES (?, ?) USING TIMESTAMP 1', [list, part]);
    added.add(name);
  }

  /** Forgets a list whose table was dropped. */
  async forget(list: string): Promise<void> {
    this.#added.delete(list);
    await this.#session.run('DELETE FROM parts USING TIMESTAMP 2 WHERE list = ?', [list]);
  }

  /** The parts of several lists, each once, in order. */
  async *list(lists: readonly string[], { from, to, reverse = false }: PartRange): AsyncGenerator<Bytes> {
    const direction = reverse ? 'DESC' : 'ASC';
    let after: Bytes | undefined;
    for (;;) {
      const low = reverse ? from : (after ?? from);
      const high = reverse ? (after ?? to) : to;
      const lowSign = !reverse && after !== undefined ? '>' : '>=';
      const highSign = reverse && after !== undefined ? '<' : '<=';
      const statement = `SELECT part FROM parts WHERE list = ? ${low ? `AND part ${lowSign} ?` : ''}
        ${high ? `AND part ${highSign} ?` : ''} ORDER BY part ${direction} LIMIT ${PAGE}`;
      const values = [...(low ? [low] : []), ...(high ? [high] : [])];
      const pages = await Promise.all(lists.map((list) => this.#session.run(statement, [list, ...values])));
      // Beyond the end of a full page, the other lists may lack parts: they are read with the next page.
      let end: Bytes | undefined;
      for (const rows of pages) {
        const last = rows.at(-1);
        if (rows.length < PAGE || last === undefined) continue;
        const part = new Uint8Array(last.part);
        if (end === undefined || compareBytes(part, end) * (reverse ? -1 : 1) < 0) end = part;
      }
      const found = new Map(pages.flat().map(({ part }) => [toHex(part), new Uint8Array(part)]));
      const sorted = [...found.values()].sort((a, b) => compareBytes(a, b) * (reverse ? -1 : 1));
      const limit = end;
      yield* limit === undefined
        ? sorted
        : sorted.filter((part) => compareBytes(part, limit) * (reverse ? -1 : 1) <= 0);
      if (limit === undefined) return;
      after = limit;
    }
  }
}
