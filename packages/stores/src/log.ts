import type { Bytes } from '@millrace/base';
import type { Entry, Key, Range, Write } from './port.ts';

/** Writes to a log until another writer takes over. */
export interface LogWriter {
  /** Fencing token, higher than every earlier one. */
  readonly token: number;
  /**
   * Writes a batch atomically and in the given order. Durable when it resolves. An empty batch writes nothing, but
   * checks that this is still the newest writer.
   * @throws {MillraceError} E_FENCED if another writer has taken over; nothing of the batch is then kept
   */
  append(writes: readonly Write[]): Promise<void>;
}

/**
 * A log with one writer: entries in key order and data derived from them. A batch spans several keys, so that an entry
 * is never stored without its derived data (docs/adr/0027). Keys have 1 to 511 bytes.
 *
 * Every method throws MillraceError: E_INPUT for an invalid key, E_DISK_FULL and E_STORE when the medium refuses,
 * E_STORE after `close`.
 */
export interface Log {
  get(key: Key): Promise<Bytes | undefined>;
  /** Equivalent to one `get` for each key, in that order, but cheaper. */
  getMany(keys: readonly Key[]): Promise<(Bytes | undefined)[]>;
  /** In key order; not a snapshot. */
  range(options?: Range): AsyncIterable<Entry>;
  /** Takes over the log. Writers with older tokens are then refused, in every process. */
  acquire(): Promise<LogWriter>;
  close(): Promise<void>;
}
