import { createHash, randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import {
  availableEngines,
  createNativeEngine,
  createReceiver,
  type EngineName,
  estimateClock,
  type HashEngine,
  nativeInstructionSets,
  type SuiteName,
} from '@millrace/live-matrix';
import { createGpuEngine } from '@millrace/live-matrix/gpu';
import { keccak_256 } from '@noble/hashes/sha3.js';
import { createKeccak } from 'hash-wasm';
import { type Bench, type Candidate, measure, type Row, rowOf } from './bench.ts';
import { codeCandidates, processorSeconds } from './bench-hash-code.ts';
import { gpuCandidates } from './bench-hash-gpu.ts';
import { batchRow, sizeCandidates } from './bench-hash-sizes.ts';
import { sweepCandidate, sweepProjection } from './bench-hash-sweep.ts';

const RUNS = 9;
const MILLION = 1e6;
/** Table 2 and section VI of the paper: 256³ on eight RX580 cards, 248 Mhash/s. */
const PAPER = { revisions: 14, order36Seconds: 300 };

/**
 * Every engine that runs here, with one thread and on all cores, compared with other libraries; tables; the parity
 * code. Figures of one thread are processor time, of several threads processor and wall-clock time, of tables
 * wall-clock time.
 */
export const benchHash: Bench = async (note) => {
  const threads = availableParallelism();
  const engines: (readonly [string, HashEngine])[] = [
    ...nativeInstructionSets().map((set) => [`native ${set}`, createNativeEngine(set)] as const),
    ...availableEngines()
      .filter(({ name }) => name !== 'native')
      .map((engine) => [engine.name, engine] as const),
  ];
  const best = engines[0]?.[0] ?? 'ts';
  note(`engines: ${engines.map(([name, { detail }]) => `${name} (${detail})`).join(', ')}; ${threads} cores`);
  const gpu = await createGpuEngine({ software: true, note: (reason) => note(`no gpu row: ${reason}`) });
  if (gpu !== undefined) note(`gpu: ${gpu.detail}${gpu.software ? ', a software adapter' : ''}`);
  const pools = new Map<EngineName, Worker[]>();
  const startPool = (engine: EngineName) => {
    const url = new URL('../dist/bench-hash-worker.js', import.meta.url);
    const workers = Array.from({ length: threads }, () => new Worker(url, { workerData: { engine }, execArgv: [] }));
    pools.set(engine, workers);
    return workers;
  };
  const seed = new Uint8Array(randomBytes(32));
  const parameters = { suite: 'keccak256', order: 24, hints: 'dense' } as const;
  const receiver = await createReceiver({ parameters, sessionId: seed.subarray(0, 16), seed });
  const prepareNext = async () => {
    if ((receiver.ready + 1n) % 64n === 0n) receiver.mix(seed);
    await receiver.prepareNext();
  };
  try {
    const candidates: Candidate[] = [
      ...engines.flatMap(([name, engine]) => oneThread(name, engine)),
      ...(gpu === undefined ? [] : gpuCandidates(gpu)),
      ...(await peers()),
      ...(['native', 'wasm-simd'] as const)
        .filter((name) => engines.some(([, engine]) => engine.name === name))
        .flatMap((name) => manyThreads(name, startPool(name))),
      {
        name: `order 24: next table ready to look up, ${receiver.engine}`,
        unit: 'ms',
        run: async () => {
          const started = performance.now();
          await prepareNext();
          return performance.now() - started;
        },
      },
      {
        name: `order 24: next table ready to look up, ${receiver.engine}, processor time`,
        unit: 'ms',
        run: async () => {
          const before = process.cpuUsage();
          await prepareNext();
          const { user, system } = process.cpuUsage(before);
          return (user + system) / 1_000;
        },
      },
      ...codeCandidates(engines),
      ...sizeCandidates(engines),
      sweepCandidate(engines[0]?.[1].name ?? 'ts'),
    ];
    const rate = (name: string, suite: SuiteName = 'keccak256') => `${name} ${suite}, one thread`;
    const report = await measure(candidates, RUNS, [
      ...engines.map(([name]) => [`${name} to hash-wasm`, rate(name), 'hash-wasm keccak256'] as const),
      [`${best} to node:crypto`, rate(best), 'node:crypto sha3-256'],
      [`${best} to @noble/hashes`, rate(best), '@noble/hashes keccak256'],
      // Upper bound of the gain from a kernel that handles many keys at once.
      ...[16, 342, 5_462].map(
        (size) => [`${best}: ${size} hints a call to 65,536`, batchRow(best, size), batchRow(best, 65_536)] as const,
      ),
      [`${best}: turboshake128 to keccak256`, rate(best, 'turboshake128'), rate(best)],
      ...[...pools.keys()].flatMap((name) =>
        ['', ', by processor time'].map((how) => {
          const [many, one] = [`${name}, ${threads} threads${how}`, `${name}, 1 thread${how}`];
          return [`${name}: ${threads} threads to one${how}`, many, one] as const;
        }),
      ),
      ...engines.map(
        ([name]) =>
          [
            `${name}: parity to the sender's hashes`,
            `${name}: parity of a 16 KiB dense frame`,
            `${name}: hash a 16 KiB frame's hints`,
          ] as const,
      ),
    ]);
    return {
      ...report,
      rows: [...report.rows, ...projections(report.rows, threads), ...sweepProjection(report.rows, threads)],
    };
  } finally {
    await receiver.close();
    await gpu?.close();
    await Promise.all([...pools.values()].flat().map((worker) => worker.terminate()));
  }
};

/** Million hashes per second of both suites, and cycles per hash if the clock rate is known. */
function oneThread(name: string, engine: HashEngine): Candidate[] {
  const out = new Uint32Array(name === 'ts' ? 2 ** 13 : 2 ** 16);
  const repeat = engine.name === 'native' ? 16 : 2;
  const seconds = (suite: SuiteName) => {
    const key = { suite, revision: 1n, key: new Uint8Array(32) };
    const all = processorSeconds(repeat, (i) => engine.hashRange(key, i * out.length, out));
    return all / (repeat * out.length);
  };
  const rates = (['keccak256', 'turboshake128'] as const).map((suite) => ({
    name: `${name} ${suite}, one thread`,
    unit: 'Mhash/s',
    run: () => 1 / seconds(suite) / MILLION,
  }));
  if (estimateClock() === undefined) return rates;
  const cycles = {
    name: `${name} keccak256: cycles a hash (clock estimated)`,
    unit: 'cycles',
    run: () => {
      // The clock rate changes with load, so estimate it before and after.
      const before = estimateClock() ?? Number.NaN;
      const each = seconds('keccak256');
      return (each * (before + (estimateClock() ?? Number.NaN))) / 2;
    },
  };
  return [...rates, cycles];
}

/** Other libraries on the same 48 bytes, one call for each hash. OpenSSL has no Keccak-256; SHA3-256 costs the same. */
async function peers(): Promise<Candidate[]> {
  const message = new Uint8Array(48);
  const wasm = await createKeccak(256);
  const rate = (count: number, hash: () => unknown) => () => {
    const seconds = processorSeconds(count, (i) => {
      message[0] = i;
      hash();
    });
    return count / MILLION / seconds;
  };
  return [
    {
      name: 'node:crypto sha3-256',
      unit: 'Mhash/s',
      run: rate(20_000, () => createHash('sha3-256').update(message).digest()),
    },
    { name: '@noble/hashes keccak256', unit: 'Mhash/s', run: rate(5_000, () => keccak_256(message)) },
    {
      name: 'hash-wasm keccak256',
      unit: 'Mhash/s',
      run: rate(40_000, () => wasm.init().update(message).digest('binary')),
    },
  ];
}

/** The same work in one worker thread and in all worker threads. */
function manyThreads(name: EngineName, workers: readonly Worker[]): Candidate[] {
  const count = name === 'native' ? 2 ** 21 : 2 ** 18;
  // Also by processor time, because wall-clock time depends on other load.
  const run = async (some: readonly Worker[], byProcessor = false) => {
    const started = performance.now();
    const cpu = process.cpuUsage();
    await Promise.all(
      some.map(
        (worker) =>
          new Promise((resolve, reject) => {
            worker.once('message', resolve).once('error', reject);
            worker.postMessage({ suite: 'keccak256', count });
          }),
      ),
    );
    for (const worker of some) worker.removeAllListeners('error');
    const { user, system } = process.cpuUsage(cpu);
    const seconds = byProcessor ? (user + system) / 1e6 / some.length : (performance.now() - started) / 1_000;
    return (some.length * count) / MILLION / seconds;
  };
  return [
    { name: `${name}, 1 thread`, unit: 'Mhash/s', run: () => run(workers.slice(0, 1)) },
    { name: `${name}, ${workers.length} threads`, unit: 'Mhash/s', run: () => run(workers) },
    { name: `${name}, 1 thread, by processor time`, unit: 'Mhash/s', run: () => run(workers.slice(0, 1), true) },
    { name: `${name}, ${workers.length} threads, by processor time`, unit: 'Mhash/s', run: () => run(workers, true) },
  ];
}

/** The rates applied to the paper's matrices. */
function projections(rows: readonly Row[], threads: number): Row[] {
  const rates = ['native', 'wasm-simd']
    .map((engine) => rows.find(({ name }) => name === `${engine}, ${threads} threads, by processor time`))
    .find((row) => row !== undefined);
  const published = [
    rowOf('paper, eight RX580: 256³, hash only', 'revisions/s', [PAPER.revisions]),
    rowOf('paper, eight RX580: 4096³', 's', [PAPER.order36Seconds]),
  ];
  if (rates === undefined) return published;
  const revisions = (rate: number) => (rate * MILLION) / 2 ** 24;
  const sweep = (rate: number) => 2 ** 36 / (rate * MILLION);
  const of = (f: (rate: number) => number) => [rates.min, rates.median, rates.max].map(f);
  return [
    { ...rowOf('256³, hash only, all cores to itself', 'revisions/s', of(revisions)), runs: rates.runs },
    { ...rowOf('4096³ projected, hash only, all cores to itself', 's', of(sweep)), runs: rates.runs },
    ...published,
  ];
}
