import type { HashEngine } from '@millrace/live-matrix';
import type { Candidate } from './bench.ts';
import { processorSeconds } from './bench-hash-code.ts';

/**
 * A sender's calls: one for each session, with that session's key. 16 to 342 hints are small batches, 5,462 a frame of
 * 16 KiB; 65,536 is an upper bound for a kernel that handles many keys at once.
 */
export const batchSizes = [16, 50, 114, 342, 5_462, 65_536] as const;
const SESSIONS = 256;
const HASHES = 2 ** 18;

export const batchRow = (engine: string, size: number) => `${engine}: calls of ${size} hints, a key each`;

/** Processor time per hash, ns, if every call has the key of another session. */
export function sizeCandidates(engines: readonly (readonly [string, HashEngine])[]): Candidate[] {
  const keys = Array.from({ length: SESSIONS }, (_, i) => ({
    suite: 'keccak256' as const,
    revision: BigInt(i),
    key: new Uint8Array(32).fill(i),
  }));
  return engines
    .filter(([, { name }]) => name !== 'ts')
    .flatMap(([name, engine]) =>
      batchSizes.map((size) => {
        const values = Uint32Array.from({ length: size }, (_, i) => Math.imul(i, 0x9e37_79b1) >>> 8);
        const out = new Uint32Array(2 * size);
        const calls = Math.ceil(HASHES / size);
        return {
          name: batchRow(name, size),
          unit: 'ns a hash',
          run: () => {
            const seconds = processorSeconds(calls, (i) => {
              const key = keys[i % SESSIONS];
              if (key !== undefined) engine.hashBatch(key, 0, values, out);
            });
            return (seconds * 1e9) / (calls * size);
          },
        };
      }),
    );
}
