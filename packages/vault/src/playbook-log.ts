import { type Bytes, toHex } from '@millrace/base';
import type { Log, LogWriter, Write } from '@millrace/stores';
import {
  decodeHolding,
  decodeState,
  encodeHolding,
  encodeState,
  HOLDINGS,
  type Holding,
  holdingKey,
  STATE_KEY,
  type VaultState,
} from './records.ts';

/** The records of a playbook, in a log that this process has acquired. */
export class PlaybookLog {
  readonly #log: Log;
  readonly #writer: LogWriter;

  private constructor(log: Log, writer: LogWriter) {
    this.#log = log;
    this.#writer = writer;
  }

  /** Acquires the log. No other process can change what is read after this. */
  static async acquire(log: Log): Promise<PlaybookLog> {
    return new PlaybookLog(log, await log.acquire());
  }

  readonly get = (key: Bytes): Promise<Bytes | undefined> => this.#log.get(key);

  /** All holdings by id. @throws {MillraceError} E_STORE */
  async holdings(): Promise<Map<string, Holding>> {
    const holdings = new Map<string, Holding>();
    for await (const { value } of this.#log.range(HOLDINGS)) {
      const holding = decodeHolding(value);
      holdings.set(toHex(holding.id), holding);
    }
    return holdings;
  }

  /** Undefined if the playbook is new. @throws {MillraceError} E_STORE */
  async state(): Promise<VaultState | undefined> {
    const stored = await this.#log.get(STATE_KEY);
    return stored && decodeState(stored);
  }

  /** Writes a batch atomically. @throws {MillraceError} E_FENCED */
  append(holdings: readonly Holding[], writes: readonly Write[], state: VaultState | undefined): Promise<void> {
    return this.#writer.append([
      ...holdings.map((holding) => ({ put: holdingKey(holding.id), value: encodeHolding(holding) })),
      ...writes,
      ...(state === undefined ? [] : [{ put: STATE_KEY, value: encodeState(state) }]),
    ]);
  }

  /** Key slots are not part of the log, so check ownership before writing to them. @throws {MillraceError} E_FENCED */
  requireHeld(): Promise<void> {
    return this.#writer.append([]);
  }
}
