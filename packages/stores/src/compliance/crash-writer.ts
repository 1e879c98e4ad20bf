/**
 * A program that tests kill. It writes batches to an LMDB store and prints the acknowledged ones on standard output.
 * `node crash-writer.js FOLDER SIZE [COUNT]`: batch n puts the keys (n, 0..15), each with SIZE bytes of n, and deletes
 * those of batch n − 8. A failed batch is reported as `failed n CODE`.
 */
import { writeSync } from 'node:fs';
import { concatBytes, u32be } from '@millrace/base';
import { openEnvironment } from '../lmdb.ts';
import type { Write } from '../port.ts';

export const BATCH = 16;
export const KEPT = 8;

export function batchWrites(n: number, size: number): Write[] {
  const writes: Write[] = [];
  for (let i = 0; i < BATCH; i++) {
    writes.push({ put: concatBytes(u32be(n), u32be(i)), value: new Uint8Array(size).fill(n & 255) });
    if (n >= KEPT) writes.push({ delete: concatBytes(u32be(n - KEPT), u32be(i)) });
  }
  return writes;
}

async function main(folder: string, size: number, count: number): Promise<void> {
  const lmdb = openEnvironment({ path: folder });
  const store = lmdb.store('crash');
  writeSync(1, 'ready\n');
  for (let n = 0; n < count; n++) {
    try {
      await store.batch(batchWrites(n, size));
      writeSync(1, `done ${n}\n`);
    } catch (error) {
      writeSync(1, `failed ${n} ${error instanceof Error && 'code' in error ? error.code : error}\n`);
      break;
    }
  }
  await lmdb.close();
  writeSync(1, 'closed\n');
}

const [, program = '', folder, size, count] = process.argv;
if (program.endsWith('crash-writer.js') && folder !== undefined) {
  await main(folder, Number(size ?? 1000), Number(count ?? Number.POSITIVE_INFINITY));
}
