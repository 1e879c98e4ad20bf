import { createHash } from 'node:crypto';
import { type Bytes, MillraceError, retry, toHex } from '@millrace/base';
import type { Cell, CellHead, CellIndex, Cells, IndexRange, NewCell } from '@millrace/stores';
import { checkCells, checkEpoch, checkIndex, checkIndexRange, checkNames } from '@millrace/stores/engine';
import { isUnknownTable } from './errors.ts';
import { type Parts, partOf } from './parts.ts';
import type { Row, Session, Value } from './session.ts';

/** Longest body, bytes. */
const MAX_BODY = 4 * 2 ** 20;
/** Longest name: Cassandra's names of tables have at most 48 characters. */
const MAX_NAME = 30;
/** Timestamps of an epoch. The cell itself is at an even one; its removal is at the next. */
const STAMPS = 2n ** 20n;
/** Bytes of an index that choose its partition: an epoch of a million cells has 16 in each. */
export const CELL_PART_BYTES = 2;
/** Rows read at a time. */
const PAGE = 500;
/** Partitions read at a time. */
const AHEAD = 32;
/** How often a listed table may be missing before it is made again: some 0.3 s. */
const MOST_REFUSED = 5;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/**
 * Cells in one table for each epoch. A cell is written at a timestamp that depends only on its epoch, so a repeated or
 * late write changes nothing, and the timestamps do not tell the order of writing. A removal has the next timestamp; a
 * cell that is written again after it gets a later one within the epoch.
 *
 * The epochs are the tables that exist. `cell_epochs` holds the newest epoch that was dropped; tables of dropped epochs
 * are dropped soon after.
 */
export class CassandraCells implements Cells {
  readonly #session: Session;
  readonly #name: string;
  readonly #parts: Parts;
  readonly #tables: RegExp;
  /** Epochs that are not dropped and have a table, as far as this process knows; undefined until first read. */
  #epochs: ReadonlySet<number> | undefined;
  /** Dropped epochs whose tables this process has not dropped. A server may have one that it does not list any more. */
  readonly #doomed = new Set<number>();
  #dropped = -1;
  #dropping: Promise<void> | undefined;
  /** Tables that are being made again. */
  readonly #creating = new Map<number, Promise<void>>();
  /** Whether the last attempt to drop the tables failed. */
  #dropFailed = false;
  #open = true;

  constructor(session: Session, name: string, parts: Parts) {
    checkNames([name]);
    if (name.length > MAX_NAME)
      throw new MillraceError('E_INPUT', `the name of a cell store has at most ${MAX_NAME} characters: ${name}`);
    this.#session = session;
    this.#name = name;
    this.#parts = parts;
    this.#tables = new RegExp(`^${this.#table('')}(\\d{1,10})$`);
  }

  async create(epoch: number): Promise<void> {
    checkEpoch(epoch);
    // Every step of a sweep calls this. A table that was dropped meanwhile takes nothing, as if it was dropped now.
    if ((await this.#known()).has(epoch)) return;
    await this.#refresh();
    if (epoch <= this.#dropped || this.#epochs?.has(epoch)) return;
    await this.#session.define(this.#creation(epoch, await this.#idOf(epoch)));
    await this.#refresh();
  }

  async put(cells: readonly NewCell[]): Promise<void> {
    checkCells(cells);
    const taken: NewCell[] = [];
    for (const cell of cells) {
      if (cell.body.length > MAX_BODY)
        throw new MillraceError('E_TOO_LARGE', `a cell has at most ${MAX_BODY} bytes, not ${cell.body.length}`);
      if (await this.#takes(cell.epoch)) taken.push(cell);
    }
    await Promise.all(taken.map((cell) => this.#put(cell)));
  }

  async get(index: CellIndex, epoch?: number): Promise<Cell | undefined> {
    const [found] = await this.#find([index], 'body', epoch);
    return found && { epoch: found.epoch, body: new Uint8Array(found.row.body) };
  }

  async heads(indexes: readonly CellIndex[], epoch?: number): Promise<(CellHead | undefined)[]> {
    const found = await this.#find(indexes, 'length', epoch);
    return found.map(
      (each, i) =>
        each && {
          index: new Uint8Array(indexes[i] ?? []),
          epoch: each.epoch,
          length: Number(each.row.length),
        },
    );
  }

  async *outline(range: IndexRange = {}): AsyncGenerator<CellHead> {
    checkIndexRange(range);
    await this.#refresh();
    const { after, upto } = range;
    const bounds = {
      ...(after && { from: partOf(after, CELL_PART_BYTES) }),
      ...(upto && { to: partOf(upto, CELL_PART_BYTES) }),
    };
    const epochs = [...(this.#epochs ?? [])];
    const parts = this.#parts.list(
      epochs.map((epoch) => this.#table(epoch)),
      bounds,
    );
    let ahead: Promise<CellHead[]>[] = [];
    for await (const part of parts) {
      ahead.push(this.#outlinePart(epochs, part, range));
      if (ahead.length < AHEAD) continue;
      yield* (await Promise.all(ahead)).flat();
      ahead = [];
    }
    yield* (await Promise.all(ahead)).flat();
  }

  async remove(indexes: readonly CellIndex[], epoch?: number): Promise<void> {
    for (const index of indexes) checkIndex(index);
    const known = await this.#known();
    const epochs = epoch === undefined ? [...known] : [epoch];
    await Promise.all(indexes.flatMap((index) => epochs.map((each) => this.#remove(index, each))));
  }

  async drop(epoch: number): Promise<void> {
    checkEpoch(epoch);
    await this.#known();
    if (epoch > this.#dropped) {
      // The newest dropped epoch has the newest timestamp, so a late call does not lower it.
      const statement = 'UPDATE cell_epochs USING TIMESTAMP ? SET dropped = ? WHERE cells = ?';
      await this.#run(statement, [BigInt(epoch) + 1n, BigInt(epoch), this.#name]);
      await this.#refresh();
    }
    if (this.#doomed.size === 0 || this.#dropping !== undefined) return;
    // Servers take a second to drop a table, and no step has to wait for it; but a failure must not stay unknown.
    if (this.#dropFailed) return this.#dropTables();
    this.#dropping = this.#dropTables()
      .catch(() => {
        this.#dropFailed = true;
      })
      .finally(() => {
        this.#dropping = undefined;
      });
  }

  async close(): Promise<void> {
    this.#open = false;
  }

  async #dropTables(): Promise<void> {
    for (const epoch of this.#doomed) {
      await this.#session.define(`DROP TABLE IF EXISTS ${this.#table(epoch)}`);
      await this.#parts.forget(this.#table(epoch));
      this.#doomed.delete(epoch);
    }
    await this.#refresh();
    this.#dropFailed = false;
  }

  async #put({ index, epoch, body }: NewCell): Promise<void> {
    const table = this.#table(epoch);
    const part = partOf(index, CELL_PART_BYTES);
    await this.#parts.add(table, part);
    // Skips the timestamps that earlier removals have used up: there are none, unless a cell is repaired.
    for (let stamp = 0n; stamp < STAMPS; stamp = stamp === 0n ? 2n : stamp * 2n) {
      const insert = `INSERT INTO ${table} (part, idx, body, length) VALUES (?, ?, ?, ?) USING TIMESTAMP ?`;
      const written = await this.#inEpoch(epoch, insert, [part, index, body, body.length, stampOf(epoch) + stamp]);
      if (written === undefined) return; // dropped meanwhile
      const rows = await this.#inEpoch(epoch, `SELECT length FROM ${table} WHERE part = ? AND idx = ?`, [part, index]);
      if (rows?.length !== 0) return;
    }
    throw new MillraceError('E_STORE', `cell ${toHex(index)} was removed too often in epoch ${epoch}`);
  }

  async #remove(index: CellIndex, epoch: number): Promise<void> {
    const part = partOf(index, CELL_PART_BYTES);
    const table = this.#table(epoch);
    const read = `SELECT WRITETIME(length) AS at FROM ${table} WHERE part = ? AND idx = ?`;
    const [row] = (await this.#inEpoch(epoch, read, [part, index])) ?? [];
    if (row === undefined) return;
    const statement = `DELETE FROM ${table} USING TIMESTAMP ? WHERE part = ? AND idx = ?`;
    await this.#inEpoch(epoch, statement, [BigInt(row.at) + 1n, part, index]);
  }

  async #find(
    indexes: readonly CellIndex[],
    column: 'body' | 'length',
    only: number | undefined,
  ): Promise<(Found | undefined)[]> {
    for (const index of indexes) checkIndex(index);
    const found: (Found | undefined)[] = indexes.map(() => undefined);
    let asked: ReadonlySet<number> | undefined;
    // Another process may have created an epoch: read the list again before a cell is called absent.
    for (let epochs = await this.#known(); epochs !== asked; epochs = await this.#refresh()) {
      asked = epochs;
      const absent = [...indexes.entries()].filter(([i]) => found[i] === undefined);
      const among = only === undefined ? [...epochs] : [only].filter((epoch) => epochs.has(epoch));
      await Promise.all(
        absent.map(async ([i, index]) => {
          found[i] = await this.#findIn(among, index, column);
        }),
      );
      if (only !== undefined && among.length > 0) break;
      if (found.every((each) => each !== undefined)) break;
    }
    return found;
  }

  async #findIn(epochs: readonly number[], index: CellIndex, column: 'body' | 'length'): Promise<Found | undefined> {
    const part = partOf(index, CELL_PART_BYTES);
    const found = await Promise.all(
      epochs.map(async (epoch) => {
        const statement = `SELECT ${column} FROM ${this.#table(epoch)} WHERE part = ? AND idx = ?`;
        const [row] = (await this.#inEpoch(epoch, statement, [part, index])) ?? [];
        return row && { epoch, row };
      }),
    );
    return found.find((each) => each !== undefined);
  }

  /** The cells of one partition in every epoch, in order. */
  async #outlinePart(epochs: readonly number[], part: Bytes, { after, upto }: IndexRange): Promise<CellHead[]> {
    const lists = await Promise.all(
      epochs.map(async (epoch) => {
        const heads: CellHead[] = [];
        for (let from: Uint8Array = after ?? new Uint8Array(); ; ) {
          const statement = `SELECT idx, length FROM ${this.#table(epoch)}
            WHERE part = ? AND idx > ? ${upto ? 'AND idx <= ?' : ''} LIMIT ${PAGE}`;
          const rows = (await this.#inEpoch(epoch, statement, [part, from, ...(upto ? [upto] : [])])) ?? [];
          for (const { idx, length } of rows) heads.push({ index: new Uint8Array(idx), epoch, length: Number(length) });
          const last = heads.at(-1);
          if (rows.length < PAGE || last === undefined) return heads;
          from = last.index;
        }
      }),
    );
    return lists.flat().sort((a, b) => Buffer.compare(a.index, b.index));
  }

  /** @returns undefined if the epoch has no table any more */
  async #inEpoch(epoch: number, statement: string, values: readonly Value[]): Promise<Row[] | undefined> {
    let refused = 0;
    return retry(
      async () => {
        try {
          return await this.#run(statement, values);
        } catch (error) {
          if (!isUnknownTable(error)) throw error;
          await this.#refresh();
          if (!this.#epochs?.has(epoch)) return undefined;
          if (++refused === MOST_REFUSED) await this.#createAgain(epoch);
          throw error;
        }
      },
      // Another process creates the table just now: servers list it before they have it.
      { forMs: this.#session.patienceMs, firstMs: 20, mostMs: 500, when: isUnknownTable },
    );
  }

  /**
   * Makes a table that is listed and missing: its server was killed while it made the table, read the list before its
   * commit log when it started again, and would miss the table until its next start.
   */
  #createAgain(epoch: number): Promise<void> {
    const running = this.#creating.get(epoch);
    if (running !== undefined) return running;
    const work = async () => {
      const listed = 'SELECT id FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?';
      const [row] = await this.#run(listed, [this.#session.keyspace, this.#table(epoch)]);
      const id = String(row?.id);
      // With the listed id, it is the table that other servers may have. If they all have it, nothing happens.
      if (UUID.test(id)) await this.#session.define(this.#creation(epoch, id));
    };
    const creating = work().finally(() => this.#creating.delete(epoch));
    this.#creating.set(epoch, creating);
    return creating;
  }

  /** Cells are ciphertext: compression finds nothing in them. */
  #creation(epoch: number, id: string): string {
    return `CREATE TABLE IF NOT EXISTS ${this.#table(epoch)} (
      part blob, idx blob, body blob, length int, PRIMARY KEY ((part), idx))
      WITH id = ${id} AND compression = {'enabled': false}`;
  }

  /**
   * The id of an epoch's table is the same wherever it is made. Two servers that make it at once, or in the halves of a
   * split network, would otherwise make two tables, and one is lost with its cells when the servers merge their schemas.
   * It depends on the id of a table that lives as long as the store, so that a store that was erased and made again does
   * not use an id again.
   */
  async #idOf(epoch: number): Promise<string> {
    const statement = 'SELECT id FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?';
    const [row] = await this.#run(statement, [this.#session.keyspace, 'cell_epochs']);
    const store = String(row?.id);
    if (!UUID.test(store)) throw new MillraceError('E_STATE', 'the keyspace has no table cell_epochs');
    const hash = createHash('sha256')
      .update(`millrace/v1/epoch-table/${store}/${this.#table(epoch)}`)
      .digest();
    // UUID of version 8 (RFC 9562, 5.8).
    hash.writeUInt8((hash.readUInt8(6) & 0x0f) | 0x80, 6);
    hash.writeUInt8((hash.readUInt8(8) & 0x3f) | 0x80, 8);
    return hash.toString('hex', 0, 16).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
  }

  async #takes(epoch: number): Promise<boolean> {
    const known = await this.#known();
    if (!known.has(epoch) && epoch > this.#dropped) await this.#refresh();
    if (epoch <= this.#dropped) return false;
    if (this.#epochs?.has(epoch)) return true;
    throw new MillraceError('E_STATE', `epoch ${epoch} of the cells was not created`, { data: { epoch } });
  }

  async #known(): Promise<ReadonlySet<number>> {
    if (!this.#open) throw new MillraceError('E_STORE', 'the store is closed');
    return this.#epochs ?? this.#refresh();
  }

  /** Reads the list of epochs. @returns the same object if it has not changed */
  async #refresh(): Promise<ReadonlySet<number>> {
    const [row] = await this.#run('SELECT dropped FROM cell_epochs WHERE cells = ?', [this.#name]);
    const tables = await this.#run('SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?', [
      this.#session.keyspace,
    ]);
    if (row !== undefined) this.#dropped = Math.max(this.#dropped, Number(row.dropped));
    const names = tables.map((table) => this.#tables.exec(String(table.table_name))?.[1]);
    const all = names.flatMap((name) => (name === undefined ? [] : [Number(name)]));
    for (const epoch of all) if (epoch <= this.#dropped) this.#doomed.add(epoch);
    const epochs = new Set(all.filter((epoch) => epoch > this.#dropped));
    const known = this.#epochs;
    if (known === undefined || known.size !== epochs.size || [...epochs].some((epoch) => !known.has(epoch)))
      this.#epochs = epochs;
    return this.#epochs ?? epochs;
  }

  #run(statement: string, values: readonly Value[]): Promise<Row[]> {
    if (!this.#open) return Promise.reject(new MillraceError('E_STORE', 'the store is closed'));
    return this.#session.run(statement, values);
  }

  #table(epoch: number | ''): string {
    return `cells_${this.#name.replaceAll('-', '_')}_${epoch}`;
  }
}

interface Found {
  readonly epoch: number;
  readonly row: Row;
}

const stampOf = (epoch: number): bigint => BigInt(epoch) * STAMPS;
