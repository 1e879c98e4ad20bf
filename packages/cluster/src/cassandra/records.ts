import { type Clock, KeyedMutex, MillraceError } from '@millrace/base';
import type { Collection, CollectionOptions, RecordStore } from '@millrace/stores';
import { checkNames } from '@millrace/stores/engine';
import { CassandraCollection } from './collection.ts';
import type { Session } from './session.ts';

/** Collections in one keyspace, which several processes may use. `name` keeps stores of one keyspace apart. */
export class CassandraRecords implements RecordStore {
  readonly #session: Session;
  readonly #name: string;
  readonly #clock: Clock;
  /** Changes of one record queue here instead of contending in the cluster. */
  readonly #keys = new KeyedMutex();
  #open = true;

  constructor(session: Session, name: string, clock: Clock) {
    checkNames([name]);
    this.#session = session;
    this.#name = name;
    this.#clock = clock;
  }

  collection(name: string, { indexes = {} }: CollectionOptions = {}): Collection {
    checkNames([name, ...Object.keys(indexes)]);
    return new CassandraCollection({
      session: this.#session,
      name: `${this.#name}/${name}`,
      indexes: new Map(Object.entries(indexes)),
      keys: this.#keys,
      clock: this.#clock,
      isOpen: () => this.#open,
    });
  }

  async collections(): Promise<string[]> {
    if (!this.#open) throw new MillraceError('E_STORE', 'the store is closed');
    const own = `${this.#name}/`;
    const names = new Set<string>();
    // Every record is in the order of keys, which is the index without a name.
    for await (const row of this.#session.scan('SELECT DISTINCT collection, idx, grp FROM positions'))
      if (row.idx === '' && String(row.collection).startsWith(own)) names.add(String(row.collection).slice(own.length));
    return [...names].sort();
  }

  async close(): Promise<void> {
    this.#open = false;
  }
}
