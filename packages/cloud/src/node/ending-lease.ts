import { MillraceError } from '@millrace/base';
import type { Log } from '@millrace/stores';
import type { Lease } from './lease.ts';

/** A log of which this process must be the only writer. */
export function endingLease(log: Log, lease: Pick<Lease, 'end'>): Log {
  return {
    get: (key) => log.get(key),
    getMany: (keys) => log.getMany(keys),
    range: (range) => log.range(range),
    acquire: async () => {
      const writer = await log.acquire();
      return {
        token: writer.token,
        append: (writes) =>
          writer.append(writes).catch((error: unknown) => {
            // A writer whose last batch has an unknown fate writes no more. Whoever takes over settles the batch.
            const code = error instanceof MillraceError ? error.code : undefined;
            if (code === 'E_FENCED' || code === 'E_TIMEOUT') lease.end((error as MillraceError).message);
            throw error;
          }),
      };
    },
    close: () => log.close(),
  };
}
