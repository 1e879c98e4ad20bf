import type { Bytes } from '@millrace/base';
import type { Entry, Key, Range, Write } from './port.ts';

/** Writes a log until another writer takes it over. */
export interface LogWriter {
  /** Higher than every token before it. */
  readonly token: number;
  /**
   * Writes a batch, all or nothing and in the order given; durable when it resolves.
   * @throws {MillraceError} E_FENCED when another writer has taken over; then nothing of the batch is kept
   */
  append(writes: readonly Write[]): Promise<void>;
}

/**
 * What one writer keeps: entries in the order of their keys, and what it derives from them. A batch spans several keys,
 * because an entry never stands without what it changes (docs/adr/0027). Keys are those of a store, 1 to 511 bytes.
 *
 * Every method throws MillraceError: E_INPUT for a wrong key, E_DISK_FULL and E_STORE when the medium refuses, E_STORE
 * after `close`.
 */
export interface Log {
  get(key: Key): Promise<Bytes | undefined>;
  /** In key order; not a snapshot. */
  range(options?: Range): AsyncIterable<Entry>;
  /** Takes the log over: writers with older tokens are refused from now on, whatever process they are in. */
  acquire(): Promise<LogWriter>;
  close(): Promise<void>;
}
