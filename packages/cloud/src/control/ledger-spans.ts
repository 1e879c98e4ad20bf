import { noTracer, type Tracer } from '@millrace/base';
import type { LedgerStore } from '@millrace/ledger';

/** A store of the ledger that records a span for each round, which makes the appends of several callers durable. */
export function tracedStore(store: LedgerStore, tracer: Tracer): LedgerStore {
  if (tracer === noTracer) return store;
  return {
    get: (key) => store.get(key),
    getMany: (keys) => store.getMany(keys),
    range: (options) => store.range(options),
    acquire: async () => {
      const writer = await store.acquire();
      return {
        append: (writes) => tracer.run('ledger.append', { writes: writes.length }, () => writer.append(writes)),
      };
    },
  };
}
