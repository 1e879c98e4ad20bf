import { type ChildProcess, fork } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MillraceError, sleep } from '@millrace/base';
import { nodeRoles } from '@millrace/protocol';
import { type Bench, machine, median, type Row, rowOf } from './bench.ts';
import type { FromChild, Home, Seen, ToChild, Usage } from './bench-fleet-ipc.ts';
import { createFleetSetup, DRAW } from './bench-fleet-setup.ts';

const DEFAULT = 400;
const STEPS = [100, 400, 1_000, 2_500, 5_000, 10_000, 15_000, 20_000, 28_000];
/** Warm-up time in which buffers fill and consumption becomes steady, ms. */
const SETTLE_MS = 20_000;
const MEASURE_MS = 30_000;
/** Machines of one load process. */
const LOAD = 7_000;

/** A process of the fleet, which handles one request at a time. */
class Child {
  readonly #process: ChildProcess;
  readonly #waiting: ((message: FromChild) => void)[] = [];
  #fail: (error: unknown) => void = () => undefined;

  constructor(file: string, onHome: (home: Home) => void) {
    this.#process = fork(fileURLToPath(new URL(file, import.meta.url)), { serialization: 'advanced' });
    this.#process.on('message', (message: FromChild) => {
      if (message.type === 'home') onHome(message);
      else this.#waiting.shift()?.(message);
    });
    this.#process.on('exit', () => this.#fail(new MillraceError('E_INTERNAL', `${file} has exited`)));
  }

  tell(message: ToChild): void {
    this.#process.send(message);
  }

  ask(message: ToChild): Promise<FromChild> {
    return new Promise((resolve, reject) => {
      this.#fail = reject;
      this.#waiting.push(resolve);
      this.tell(message);
    });
  }

  async usage(): Promise<Usage> {
    const answer = await this.ask({ type: 'usage' });
    if (answer.type !== 'usage') throw new Error('no usage');
    return answer.usage;
  }

  async seen(): Promise<Seen> {
    const answer = await this.ask({ type: 'see' });
    if (answer.type !== 'seen') throw new Error('nothing seen');
    return answer.seen;
  }

  stop(): void {
    this.#fail = () => undefined;
    if (this.#process.connected) this.tell({ type: 'stop' });
  }
}

/**
 * A fleet of machines that each consume 2 kB/s over their own TLS connection and session, against one installation.
 * Arguments: largest number of machines (default 400) and initial number (default 100). The fleet grows in steps until
 * a machine has to wait for a segment.
 */
export const benchFleet: Bench = async (note, args) => {
  const [most = DEFAULT, least = 0] = args.map(Number);
  if (!Number.isInteger(most) || most < 1 || Number.isNaN(least))
    throw new MillraceError('E_INPUT', 'usage: fleet [MACHINES [INITIAL_MACHINES]]');
  const folder = await mkdtemp(join(tmpdir(), 'fleet-'));
  const children: Child[] = [];
  try {
    const fleet = await createFleetSetup(folder, [await freePort(), await freePort()]);
    let keys: Child | undefined;
    const onHome = (home: Home) => keys?.tell(home);
    const nodes = new Map<string, Child>();
    for (const role of nodeRoles) {
      const child = new Child('./bench-fleet-node.js', onHome);
      children.push(child);
      await child.ask({ type: 'node', role, fleet });
      nodes.set(role, child);
    }
    keys = nodes.get('keys');
    const loads: Child[] = [];
    for (let i = 0; i < Math.max(1, Math.ceil(most / LOAD)); i++) {
      const load = new Child('./bench-fleet-load.js', onHome);
      children.push(load);
      await load.ask({ type: 'load', fleet, host: `127.0.0.${1 + i}` });
      loads.push(load);
    }
    await sleep(500);
    return {
      machine: machine(),
      rows: await grow(note, [...STEPS.filter((step) => step >= least && step < most), most], nodes, loads),
      ratios: [],
    };
  } finally {
    for (const child of children) child.stop();
    await rm(folder, { recursive: true, force: true });
  }
};

async function grow(
  note: (text: string) => void,
  steps: readonly number[],
  nodes: ReadonlyMap<string, Child>,
  loads: readonly Child[],
): Promise<readonly Row[]> {
  const rows: Row[] = [];
  const empty = await usages(nodes);
  let there = 0;
  for (const fleet of steps) {
    const before = await usages(nodes);
    const began = performance.now();
    await Promise.all(
      loads.map((load, i) => load.ask({ type: 'add', machines: share(fleet, i, loads) - share(there, i, loads) })),
    );
    const each = (performance.now() - began) / (fleet - there);
    const opened = await usages(nodes);
    note(`${fleet} machines: open, ${each.toFixed(1)} ms each`);
    await sleep(SETTLE_MS);
    await Promise.all(loads.map((load) => load.ask({ type: 'reset' })));
    const [start, loadStart] = [await usages(nodes), await usagesOf(loads)];
    const from = performance.now();
    await sleep(MEASURE_MS);
    const [end, loadEnd] = [await usages(nodes), await usagesOf(loads)];
    const seconds = (performance.now() - from) / 1_000;
    const seen = together(await Promise.all(loads.map((load) => load.seen())));
    const label = `${fleet.toLocaleString('en')} machines`;
    const row = (name: string, unit: string, figure: number) => rows.push(rowOf(`${label}: ${name}`, unit, [figure]));
    row('machines that waited for a segment', 'machines', seen.starved);
    row('frames or keys that were wrong, links lost', 'count', seen.wrong + seen.lost);
    row('consumed by a machine', 'bytes/s', (seen.taken * 16_370) / seconds / fleet);
    row('frames', '/s', seen.frames / seconds);
    row('reverse frames', '/s', seen.reverse / seconds);
    row('request to frame, median', 'ms', median([...seen.latency]));
    row('request to frame, 99 %', 'ms', quantile(seen.latency, 0.99));
    let whole = 0;
    for (const [role, usage] of end) {
      const cores = (usage.cpuMs - (start.get(role)?.cpuMs ?? 0)) / 1_000 / seconds;
      whole += cores;
      row(`${role} node, processor time`, 'cores', cores);
      row(`${role} node, memory for a session`, 'kB', (usage.rss - (empty.get(role)?.rss ?? 0)) / 1_000 / fleet);
    }
    row('all nodes, processor time for a session', 'µs/s', (1e6 * whole) / fleet);
    row('machines for two cores by processor time, if the load ran elsewhere', 'machines', (2 * fleet) / whole);
    const loadCores =
      loadEnd.reduce((sum, one, i) => sum + one.cpuMs - (loadStart[i]?.cpuMs ?? 0), 0) / 1_000 / seconds;
    row('machines’ side, processor time', 'cores', loadCores);
    row('session set-up and first window, processor time of the nodes', 'ms', openingMs(before, opened, fleet - there));
    note(
      rows
        .slice(-20)
        .map(({ name, median: figure, unit }) => `  ${name}: ${figure.toPrecision(4)} ${unit}`)
        .join('\n'),
    );
    there = fleet;
    if (seen.starved > 0 || seen.running < fleet) {
      note(`${label}: ${seen.running} are running, ${seen.starved} had to wait; stopping here`);
      break;
    }
  }
  rows.push(rowOf('consumed by a machine, target', 'bytes/s', [DRAW]));
  return rows;
}

function openingMs(before: ReadonlyMap<string, Usage>, after: ReadonlyMap<string, Usage>, count: number): number {
  return [...after].reduce((sum, [role, usage]) => sum + usage.cpuMs - (before.get(role)?.cpuMs ?? 0), 0) / count;
}

function share(fleet: number, i: number, loads: readonly unknown[]): number {
  return Math.floor((fleet * (i + 1)) / loads.length) - Math.floor((fleet * i) / loads.length);
}

async function usages(nodes: ReadonlyMap<string, Child>): Promise<ReadonlyMap<string, Usage>> {
  return new Map(await Promise.all([...nodes].map(async ([role, child]) => [role, await child.usage()] as const)));
}

function usagesOf(children: readonly Child[]): Promise<readonly Usage[]> {
  return Promise.all(children.map((child) => child.usage()));
}

function together(all: readonly Seen[]): Seen {
  const sum = (of: (seen: Seen) => number) => all.reduce((total, seen) => total + of(seen), 0);
  return {
    machines: sum((seen) => seen.machines),
    running: sum((seen) => seen.running),
    frames: sum((seen) => seen.frames),
    keys: sum((seen) => seen.keys),
    reverse: sum((seen) => seen.reverse),
    taken: sum((seen) => seen.taken),
    wrong: sum((seen) => seen.wrong),
    starved: sum((seen) => seen.starved),
    lost: sum((seen) => seen.lost),
    latency: Float64Array.from(all.flatMap((seen) => [...seen.latency])).sort(),
  };
}

function quantile(sorted: Float64Array, q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() =>
        typeof address === 'object' && address !== null ? resolve(address.port) : reject(new Error('no port')),
      );
    });
  });
}
