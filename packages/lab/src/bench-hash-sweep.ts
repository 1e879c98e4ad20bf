import { type EngineName, type HashKey, resolveBySweep } from '@millrace/live-matrix';
import { type Candidate, type Row, rowOf } from './bench.ts';

/** Values of one run: about 60 ms for the native engine. */
const VALUES = 2 ** 21;
const CODES = 5_462;
const NAME = `order 36: sweep for ${CODES} codes, one thread, processor time`;

/** Cost of a sweep, including the lookup of every hash among the codes. */
export function sweepCandidate(engine: EngineName): Candidate {
  const key: HashKey = { suite: 'keccak256', revision: 1n, key: new Uint8Array(32) };
  const codes = Array.from({ length: CODES }, (_, i) => BigInt(Math.imul(i, 0x9e37_79b1) >>> 0) << 4n);
  return {
    name: NAME,
    unit: 'ns a value',
    run: async () => {
      const before = process.cpuUsage();
      await resolveBySweep({ order: 36, key, codes, engine, threads: 0, to: BigInt(VALUES) });
      const { user, system } = process.cpuUsage(before);
      return ((user + system) * 1_000) / VALUES;
    },
  };
}

/** Duration of a whole sweep on this many otherwise idle cores, s. */
export function sweepProjection(rows: readonly Row[], threads: number): readonly Row[] {
  const row = rows.find(({ name }) => name === NAME);
  if (row === undefined) return [];
  const seconds = [row.min, row.median, row.max].map((each) => (each * 2 ** 36) / 1e9 / threads);
  return [{ ...rowOf(`4096³ projected for ${CODES} codes, all cores to itself`, 's', seconds), runs: row.runs }];
}
