import { type Bytes, MillraceError, u64be } from '@millrace/base';
import { sameValue } from './keys.ts';
import type { Log, LogWriter } from './log.ts';
import type { Entry, Key, Range, TransactionalStore, Write } from './port.ts';

/** Key of the newest token. It is the lowest key, which no log entry can have. */
const TOKEN = Uint8Array.of(0);

/** A log in one ordered map. Each batch checks the token in its transaction. */
export class MapLog implements Log {
  readonly #map: TransactionalStore;

  constructor(map: TransactionalStore) {
    this.#map = map;
  }

  async get(key: Key): Promise<Bytes | undefined> {
    requireFree(key);
    return this.#map.get(key);
  }

  async getMany(keys: readonly Key[]): Promise<(Bytes | undefined)[]> {
    for (const key of keys) requireFree(key);
    return this.#map.getMany(keys);
  }

  range(options: Range = {}): AsyncIterable<Entry> {
    const lowest = options.gte ?? options.gt;
    const { gte: _gte, gt: _gt, ...rest } = options;
    return this.#map.range(lowest === undefined || isToken(lowest) ? { ...rest, gt: TOKEN } : options);
  }

  async acquire(): Promise<LogWriter> {
    for (;;) {
      const before = await this.#map.get(TOKEN);
      const token = before === undefined ? 1 : numberOf(before) + 1;
      const own = u64be(BigInt(token));
      if ((await this.#map.swap(TOKEN, before, own, [])) === 'applied') return this.#writer(token, own);
    }
  }

  close(): Promise<void> {
    return this.#map.close();
  }

  #writer(token: number, own: Bytes): LogWriter {
    return {
      token,
      append: async (writes: readonly Write[]) => {
        if (writes.length === 0) {
          if (sameValue(await this.#map.get(TOKEN), own)) return;
          throw fenced(token);
        }
        for (const write of writes) requireFree('put' in write ? write.put : write.delete);
        if ((await this.#map.swap(TOKEN, own, own, writes)) === 'applied') return;
        throw fenced(token);
      },
    };
  }
}

function fenced(token: number): MillraceError {
  return new MillraceError('E_FENCED', `another writer has taken over the log from writer ${token}`);
}

function numberOf(token: Bytes): number {
  if (token.length !== 8) throw new MillraceError('E_STORE', 'the token of the log is damaged');
  return Number(new DataView(token.buffer, token.byteOffset).getBigUint64(0));
}

function isToken(key: Key): boolean {
  return key.length === 1 && key[0] === TOKEN[0];
}

function requireFree(key: Key): void {
  if (isToken(key)) throw new MillraceError('E_INPUT', 'the key 00 belongs to the store of the log');
}
