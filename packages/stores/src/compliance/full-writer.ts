import { utf8 } from '@millrace/base';
import { openEnvironment } from '../lmdb.ts';
import type { Write } from '../port.ts';

// Writes and deletes at random in a folder whose file size is limited, so that many writes fail, and compares the store
// with the acknowledged writes. Arguments: folder, seed. Prints `refused N kept M` on success.

const [folder = '', seed = '1'] = process.argv.slice(2);
const ROUNDS = 400;

let state = Number(seed);
function random(below: number): number {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return Math.floor((state / 2 ** 32) * below);
}

const lmdb = openEnvironment({ path: folder });
const stores = ['a', 'b', 'c'].map((name) => ({ store: lmdb.store(name), kept: new Map<number, number>() }));
let refused = 0;
for (let round = 0; round < ROUNDS; round++) {
  const groups = Array.from({ length: 1 + random(4) }, async () => {
    const { store, kept } = stores[random(stores.length)] ?? stores[0] ?? process.exit(3);
    const numbers = new Set(Array.from({ length: 1 + random(40) }, () => random(2_000)));
    const deleting = random(3) === 0;
    const lengths = new Map([...numbers].map((number) => [number, random(random(10) === 0 ? 40_000 : 400)]));
    const writes = [...numbers].map((number): Write => {
      const key = utf8(`key ${number}`);
      const value = new Uint8Array(lengths.get(number) ?? 0).fill(number & 255);
      return deleting ? { delete: key } : { put: key, value };
    });
    try {
      await store.batch(writes);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'E_DISK_FULL')) throw error;
      refused++;
      return;
    }
    for (const number of numbers) deleting ? kept.delete(number) : kept.set(number, lengths.get(number) ?? 0);
  });
  await Promise.all(groups);
}

let found = 0;
for (const { store, kept } of stores) {
  for (const [number, length] of kept) {
    const value = await store.get(utf8(`key ${number}`));
    if (value?.length !== length || value.some((byte) => byte !== (number & 255))) process.exit(4);
    found++;
  }
  let entries = 0;
  for await (const _ of store.range()) entries++;
  if (entries !== kept.size) process.exit(5);
}
await lmdb.close();
process.stdout.write(`refused ${refused} kept ${found}\n`);
