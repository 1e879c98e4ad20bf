import { randomUUID } from 'node:crypto';
import { type Bytes, decodeCbor, encodeCbor, isTransient, MillraceError, Mutex, retry, toHex } from '@millrace/base';
import type { Entry, Key, Log, LogWriter, Range, Write } from '@millrace/stores';
import { checkKey, checkNames, checkRange, checkWrites } from '@millrace/stores/engine';
import { type Parts, partOf } from './parts.ts';
import type { Row, Session, Value } from './session.ts';

/** Longest value, bytes. */
const MAX_VALUE = 4 * 2 ** 20;
/** Bytes of a batch in one row of the journal. */
const CHUNK = 512 * 1_024;
/** Bytes of a key that choose its partition. A kind in one byte and a u64: 65,536 entries in each. */
const PART_BYTES = 7;
/** Rows read at a time. */
const PAGE = 500;
/** Most partitions read at a time. */
const AHEAD = 16;

/** The state of a log: newest token, number of the last batch, and the token that wrote this batch. */
interface Head {
  readonly token: number;
  readonly batch: number;
  readonly writer: number;
}

/**
 * A log in one keyspace. A batch is first written to the journal; one conditional write of the head commits it, which
 * fails if another writer has taken over; then its writes are applied with the batch's number as timestamp. Whoever
 * takes over applies the last batch once more. A writer that was stopped and goes on can repeat only what is there.
 */
export class CassandraLog implements Log {
  readonly #session: Session;
  readonly #name: string;
  readonly #parts: Parts;
  readonly #acquiring = new Mutex();
  #open = true;

  constructor(session: Session, name: string, parts: Parts) {
    checkNames([name]);
    this.#session = session;
    this.#name = name;
    this.#parts = parts;
  }

  async get(key: Key): Promise<Bytes | undefined> {
    requireFree(key);
    const statement = 'SELECT value FROM log_rows WHERE log = ? AND part = ? AND key = ?';
    const [row] = await this.#run(statement, [this.#name, partOf(key, PART_BYTES), key]);
    return row && new Uint8Array(row.value);
  }

  async getMany(keys: readonly Key[]): Promise<(Bytes | undefined)[]> {
    for (const key of keys) requireFree(key);
    return Promise.all(keys.map((key) => this.get(key)));
  }

  async *range(options: Range = {}): AsyncGenerator<Entry> {
    checkRange(options);
    const { gte, gt, lte, lt, reverse = false, limit = Number.POSITIVE_INFINITY } = options;
    const [low, high] = [gte ?? gt, lte ?? lt];
    const bounds = {
      ...(low && { from: partOf(low, PART_BYTES) }),
      ...(high && { to: partOf(high, PART_BYTES) }),
      reverse,
    };
    let left = limit;
    let ahead: Promise<Entry[]>[] = [];
    // Short ranges are common: begin with one partition.
    let most = 1;
    const parts = this.#parts.list([this.#list], bounds)[Symbol.asyncIterator]();
    for (;;) {
      if (!this.#open) throw new MillraceError('E_STORE', 'the store is closed');
      const next = left > 0 ? await parts.next() : { done: true as const, value: undefined };
      if (!next.done) ahead.push(this.#rowsOf(next.value, options, Math.min(left, PAGE)));
      if (!next.done && ahead.length < most) continue;
      for (const first of ahead) {
        for (let rows = await first; rows.length > 0 && left > 0; ) {
          for (const row of rows.slice(0, left)) yield row;
          const last = rows.at(-1);
          const full = rows.length === Math.min(left, PAGE);
          left -= rows.length;
          const rest = last && after(options, last.key);
          const part = last && partOf(last.key, PART_BYTES);
          rows = full && left > 0 && part && rest ? await this.#rowsOf(part, rest, Math.min(left, PAGE)) : [];
        }
        if (left <= 0) return;
      }
      if (next.done) return;
      ahead = [];
      most = Math.min(2 * most, AHEAD);
    }
  }

  acquire(): Promise<LogWriter> {
    return this.#acquiring.run(() => this.#acquire());
  }

  async #acquire(): Promise<LogWriter> {
    const holder = randomUUID();
    for (;;) {
      const before = await this.#head();
      const token = (before?.token ?? 0) + 1;
      const statement = before
        ? 'UPDATE log_heads SET newest = ?, holder = ? WHERE log = ? IF newest = ?'
        : 'UPDATE log_heads SET seq = 0, writer = 0, newest = ?, holder = ? WHERE log = ? IF newest = ?';
      const values = [BigInt(token), holder, this.#name, before === undefined ? null : BigInt(before.token)];
      const [answer] = await this.#run(statement, values);
      if (answer?.['[applied]'] !== true) {
        // An earlier attempt of this very call may have been applied.
        const [row] = await this.#run('SELECT newest, holder FROM log_heads WHERE log = ?', [this.#name], 'serial');
        if (row?.holder !== holder || Number(row.newest) !== token) continue;
      }
      const head = await this.#head();
      if (head === undefined || head.token !== token) continue;
      await this.#applyAgain(head, before?.token);
      return new Writer(head, {
        run: (text, parameters, level) => this.#run(text, parameters, level),
        send: (text, parameters) => this.#send(text, parameters),
        patienceMs: this.#session.patienceMs,
        name: this.#name,
        apply: (writes, batch) => this.#apply(writes, batch),
      });
    }
  }

  async close(): Promise<void> {
    this.#open = false;
  }

  get #list(): string {
    return `log/${this.#name}`;
  }

  async #head(): Promise<Head | undefined> {
    const statement = 'SELECT newest, seq, writer FROM log_heads WHERE log = ?';
    const [row] = await this.#run(statement, [this.#name], 'serial');
    return row && { token: Number(row.newest), batch: Number(row.seq), writer: Number(row.writer) };
  }

  /** The last batch may be committed and not applied: its writer has ended, or is stopped. */
  async #applyAgain({ batch, writer }: Head, former: number | undefined): Promise<void> {
    const statement = 'SELECT chunk, writes FROM log_journal WHERE log = ? AND writer = ? AND seq = ?';
    const rows = await this.#run(statement, [this.#name, BigInt(writer), BigInt(batch)]);
    if (rows.length > 0) await this.#apply(decodeWrites(rows.map((row) => row.writes as Uint8Array)), batch);
    // What the former writer had prepared and did not commit.
    if (former !== undefined)
      await this.#run('DELETE FROM log_journal WHERE log = ? AND writer = ? AND seq = ?', [
        this.#name,
        BigInt(former),
        BigInt(batch + 1),
      ]);
  }

  async #apply(writes: readonly Write[], batch: number): Promise<void> {
    const newest = new Map(writes.map((write) => [toHex('put' in write ? write.put : write.delete), write]));
    await Promise.all(
      [...newest.values()].map(async (write) => {
        if ('delete' in write) {
          const statement = 'DELETE FROM log_rows USING TIMESTAMP ? WHERE log = ? AND part = ? AND key = ?';
          await this.#run(statement, [BigInt(batch), this.#name, partOf(write.delete, PART_BYTES), write.delete]);
          return;
        }
        const part = partOf(write.put, PART_BYTES);
        await this.#parts.add(this.#list, part);
        const statement = 'INSERT INTO log_rows (log, part, key, value) VALUES (?, ?, ?, ?) USING TIMESTAMP ?';
        await this.#run(statement, [this.#name, part, write.put, write.value, BigInt(batch)]);
      }),
    );
  }

  async #rowsOf(part: Bytes, { gte, gt, lte, lt, reverse = false }: Range, limit: number): Promise<Entry[]> {
    const bounds = [
      ['>=', gte],
      ['>', gt],
      ['<=', lte],
      ['<', lt],
    ].filter((bound): bound is [string, Uint8Array] => bound[1] !== undefined);
    const statement = `SELECT key, value FROM log_rows WHERE log = ? AND part = ?
      ${bounds.map(([sign]) => `AND key ${sign} ?`).join(' ')} ORDER BY key ${reverse ? 'DESC' : 'ASC'} LIMIT ?`;
    const rows = await this.#run(statement, [this.#name, part, ...bounds.map(([, key]) => key), limit]);
    return rows.map(({ key, value }) => ({ key: new Uint8Array(key), value: new Uint8Array(value) }));
  }

  #run(statement: string, values: readonly Value[], level: 'quorum' | 'serial' = 'quorum'): Promise<Row[]> {
    if (!this.#open) return Promise.reject(new MillraceError('E_STORE', 'the store is closed'));
    return this.#session.run(statement, values, { level });
  }

  #send(statement: string, values: readonly Value[]): Promise<Row[]> {
    if (!this.#open) return Promise.reject(new MillraceError('E_STORE', 'the store is closed'));
    return this.#session.send(statement, values);
  }
}

interface WriterParts {
  readonly name: string;
  readonly patienceMs: number;
  run(statement: string, values: readonly Value[], level?: 'quorum' | 'serial'): Promise<Row[]>;
  send(statement: string, values: readonly Value[]): Promise<Row[]>;
  apply(writes: readonly Write[], batch: number): Promise<void>;
}

class Writer implements LogWriter {
  readonly token: number;
  readonly #parts: WriterParts;
  readonly #mutex = new Mutex();
  /** The last committed batch. */
  #batch: number;
  /** The last number that was used for a batch. One that failed is not used again. */
  #used: number;
  /** Set when the fate of a batch is not known. Whoever takes over the log next settles it. */
  #ended = false;

  constructor(head: Head, parts: WriterParts) {
    this.token = head.token;
    this.#batch = head.batch;
    this.#used = head.batch;
    this.#parts = parts;
  }

  async append(writes: readonly Write[]): Promise<void> {
    checkWrites(writes);
    for (const write of writes) {
      requireFree('put' in write ? write.put : write.delete);
      if ('put' in write && write.value.length > MAX_VALUE)
        throw new MillraceError('E_TOO_LARGE', `an entry has at most ${MAX_VALUE} bytes, not ${write.value.length}`);
    }
    await this.#mutex.run(() => this.#append(writes));
  }

  async #append(writes: readonly Write[]): Promise<void> {
    const { run, name, apply } = this.#parts;
    if (this.#ended) throw this.#fenced('the fate of an earlier batch is not known');
    if (writes.length === 0) {
      const [row] = await run('SELECT newest FROM log_heads WHERE log = ?', [name], 'serial');
      if (Number(row?.newest) !== this.token) throw this.#fenced('another writer has taken over the log');
      return;
    }
    const batch = ++this.#used;
    const journal = 'INSERT INTO log_journal (log, writer, seq, chunk, writes) VALUES (?, ?, ?, ?, ?)';
    const bytes = encodeWrites(writes);
    for (let chunk = 0; chunk * CHUNK < bytes.length; chunk++)
      await run(journal, [
        name,
        BigInt(this.token),
        BigInt(batch),
        chunk,
        bytes.subarray(chunk * CHUNK, (chunk + 1) * CHUNK),
      ]);
    await this.#commit(batch);
    this.#batch = batch;
    try {
      await apply(writes, batch);
    } catch (error) {
      this.#ended = true; // committed, and applied by whoever takes over
      throw error;
    }
    // The next writer would only apply it again.
    run('DELETE FROM log_journal WHERE log = ? AND writer = ? AND seq = ?', [
      name,
      BigInt(this.token),
      BigInt(batch),
    ]).catch(() => []);
  }

  async #commit(batch: number): Promise<void> {
    const { send, name, patienceMs } = this.#parts;
    const statement = 'UPDATE log_heads SET seq = ?, writer = ? WHERE log = ? IF newest = ? AND seq = ?';
    const token = BigInt(this.token);
    let unknown = false;
    const attempt = async (): Promise<Row | undefined> => {
      try {
        const [answer] = await send(statement, [BigInt(batch), token, name, token, BigInt(this.#batch)]);
        return answer;
      } catch (error) {
        unknown ||= error instanceof MillraceError && error.code === 'E_TIMEOUT';
        throw error;
      }
    };
    let answer: Row | undefined;
    try {
      answer = await retry(attempt, { forMs: patienceMs, firstMs: 50, mostMs: 1_000, when: isTransient });
    } catch (error) {
      this.#ended ||= unknown;
      throw error;
    }
    if (answer?.['[applied]'] === true) return;
    const found = Number(answer?.seq);
    // Only this writer counts batches under its token: an earlier attempt was applied.
    if (Number(answer?.newest) === this.token && found === batch) return;
    this.#ended = true;
    throw this.#fenced(
      unknown && found >= batch
        ? 'another writer has taken over the log, perhaps with the last batch'
        : 'another writer has taken over the log',
    );
  }

  #fenced(why: string): MillraceError {
    return new MillraceError('E_FENCED', `${why}; it had writer ${this.token}`);
  }
}

function encodeWrites(writes: readonly Write[]): Bytes {
  return encodeCbor(writes.map((write) => ('put' in write ? [write.put, write.value] : [write.delete])) as never);
}

function decodeWrites(chunks: readonly Uint8Array[]): Write[] {
  const decoded: unknown = decodeCbor(new Uint8Array(Buffer.concat(chunks)), 'a batch of the journal', 'E_STORE');
  const damaged = () => new MillraceError('E_STORE', 'a batch of the journal is damaged');
  if (!Array.isArray(decoded)) throw damaged();
  return decoded.map((item: unknown): Write => {
    const [key, value] = Array.isArray(item) ? item : [];
    if (!(key instanceof Uint8Array) || !(value === undefined || value instanceof Uint8Array)) throw damaged();
    checkKey(key);
    return value === undefined ? { delete: key } : { put: key, value };
  });
}

/** The rest of a range after this key, in the direction of reading. */
function after({ gte, gt, lte, lt, reverse = false }: Range, key: Key): Range {
  if (reverse) return { ...(gte && { gte }), ...(gt && { gt }), lt: key, reverse };
  return { gt: key, ...(lte && { lte }), ...(lt && { lt }) };
}

function requireFree(key: Key): void {
  checkKey(key);
  if (key.length === 1 && key[0] === 0)
    throw new MillraceError('E_INPUT', 'the key 00 belongs to the store of the log');
}
