import type { SuiteName } from '@millrace/live-matrix';
import type { GpuEngine } from '@millrace/live-matrix/gpu';
import type { Candidate } from './bench.ts';

/** Name of the row. Marks a software adapter, so that it is not mistaken for a graphics card. */
export function gpuName(engine: GpuEngine): string {
  return engine.software ? 'gpu (SOFTWARE adapter, no card)' : `gpu (${engine.detail})`;
}

/** Million hashes per second of both suites, including reading the results back, by wall-clock time. */
export function gpuCandidates(engine: GpuEngine): Candidate[] {
  const out = new Uint32Array(engine.software ? 2 ** 14 : 2 ** 23);
  return (['keccak256', 'turboshake128'] as const).map((suite: SuiteName) => ({
    name: `${gpuName(engine)} ${suite}`,
    unit: 'Mhash/s',
    run: async () => {
      const started = performance.now();
      await engine.hashRange({ suite, revision: 1n, key: new Uint8Array(32) }, 0, out);
      return out.length / 1_000 / (performance.now() - started);
    },
  }));
}
