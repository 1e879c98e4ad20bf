import { type ChildProcess, fork } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Closer, MillraceError, parse, systemClock, systemRandom, toHex } from '@millrace/base';
import { type ClusterSettings, clusterSchema, connectCluster } from '@millrace/cloud/parts';
import { openLmdb } from '@millrace/stores';
import {
  CellStore,
  createKeyWrapper,
  decodeMessage,
  encodeMessage,
  InProcessEngine,
  LANES,
  openSlots,
  Playbook,
  readManifest,
  SEGMENT_BYTES,
  segmentHash,
  wipeMessage,
} from '@millrace/vault';
import { type Bench, machine, median, type Row, rowOf } from './bench.ts';
import { CELLS, type FromMember, type ToMember } from './bench-nodes-ipc.ts';
import { manifestOf, sealedSegments } from './bench-vault-setup.ts';

const COUNTS = [1, 2, 4] as const;
const ROUNDS = 3;
/** As the keys node does when several nodes share the cells. */
const STEP = 512;
const STORED = 256;
const MB = 1e6;

/** What one sweep took: seconds of the clock, and seconds of processor time. */
interface Cost {
  readonly wall: number;
  readonly nodes: number;
  readonly keys: number;
  readonly cassandra: number;
}

/**
 * Sweeps of one store in Cassandra that 1, 2 and 4 segments nodes share in lanes, each a process of its own, beside the
 * processor time of Cassandra itself. `npm run bench -- nodes SETTINGS PID [MB]`: a file with `cluster` as in `node.json`
 * (docs/cluster.md), the process of Cassandra on this computer, and the size of the store (default 67 MB).
 */
export const benchNodes: Bench = async (note, [file, pid, megabytes = '67']) => {
  if (file === undefined || !/^\d+$/.test(pid ?? '') || !(Number(megabytes) > 0))
    throw new MillraceError('E_INPUT', 'usage: npm run bench -- nodes SETTINGS PID [MB]');
  const json = await readFile(resolve(file), 'utf8')
    .then(JSON.parse)
    .catch((cause: unknown) => {
      throw new MillraceError('E_CONFIG', `cannot read ${file}: ${String(cause)}`, { cause });
    });
  const given = parse(clusterSchema, json, file, 'E_CONFIG');
  const settings = { ...given, keyspace: `bench_${toHex(systemRandom(6))}` };
  const base = await mkdtemp(join(tmpdir(), 'millrace-nodes-'));
  const closer = new Closer();
  closer.add({ close: () => rm(base, { recursive: true, force: true, maxRetries: 3 }) });
  try {
    const vault = await openVault(
      dirname(resolve(file)),
      settings,
      base,
      (Number(megabytes) * MB) / SEGMENT_BYTES,
      closer,
    );
    note(`storing ${vault.cells} cells`);
    await vault.store();
    const members: Member[] = [];
    for (let number = 0; number < Math.max(...COUNTS); number++)
      members.push(closer.add(await Member.start(dirname(resolve(file)), settings)));
    const costs = new Map<number, Cost[]>(COUNTS.map((count) => [count, []]));
    await sweep(vault.playbook, members.slice(0, 1)); // not measured: prepares statements
    for (let round = 0; round < ROUNDS; round++) {
      for (const count of COUNTS) {
        note(`round ${round + 1} of ${ROUNDS}: ${count} segments node${count === 1 ? '' : 's'}`);
        costs.get(count)?.push(await measured(Number(pid), vault.playbook, members.slice(0, count), members));
      }
    }
    return report(costs, vault.cells * SEGMENT_BYTES);
  } finally {
    await closer.close();
  }
};

function report(costs: ReadonlyMap<number, readonly Cost[]>, bytes: number) {
  const rows: Row[] = [];
  const rate = (count: number) => (costs.get(count) ?? []).map(({ wall }) => bytes / MB / wall);
  for (const [count, each] of costs) {
    const name = `${count} segments node${count === 1 ? '' : 's'}`;
    rows.push(rowOf(`${name}: sweep`, 'MB/s', rate(count)));
    for (const part of ['nodes', 'keys', 'cassandra'] as const)
      rows.push(
        rowOf(
          `${name}: processor time of ${part}`,
          's',
          each.map((cost) => cost[part]),
        ),
      );
  }
  const one = rate(1);
  const ratios = COUNTS.slice(1).map((count) => ({
    ...{ name: `sweep with ${count} nodes to one`, of: `${count} nodes`, to: '1 node' },
    median: median(rate(count).map((value, round) => value / (one[round] ?? Number.NaN))),
  }));
  const share = [...costs.values()].flat().map(({ cassandra, nodes, keys }) => cassandra / (cassandra + nodes + keys));
  const of = { name: 'processor time of Cassandra to all', of: 'Cassandra', to: 'all', median: median(share) };
  return { machine: machine(), rows, ratios: [...ratios, of] };
}

async function openVault(folder: string, settings: ClusterSettings, base: string, size: number, closer: Closer) {
  const cassandra = await connectCluster(folder, settings, { clock: systemClock });
  closer.add({
    close: async () => {
      await cassandra.erase();
      await cassandra.close();
    },
  });
  const cells = new CellStore(new InProcessEngine(cassandra.cells(CELLS)));
  const playbook = closer.add(
    await Playbook.open({
      log: closer.add(openLmdb({ path: join(base, 'keys') })).log('playbook'),
      epochSlots: closer.add(await openSlots(join(base, 'epoch.keys'))),
      designSlots: closer.add(await openSlots(join(base, 'design.keys'))),
      wrapper: createKeyWrapper(systemRandom(32)),
      density: 100,
    }),
  );
  const count = Math.max(1, Math.round(size));
  const sealed = sealedSegments();
  const bytes = manifestOf(count, 'rekey', sealed);
  const manifest = readManifest(bytes);
  const design = Uint8Array.from(Buffer.from(manifest.designId, 'hex'));
  const source = { sealed, hash: (n: number) => segmentHash(manifest, n) };
  return {
    playbook,
    cells: count,
    store: async () => {
      await playbook.addDesign({ manifest: bytes, keys: new Uint8Array(32 * count) });
      for (let from = 0; from < count; from += STORED) {
        const message = await playbook.instruct({ design, from, count: Math.min(STORED, count - from) });
        if (message === undefined) throw new Error('a check runs');
        await playbook.stored(await cells.storeCells(message, source));
      }
    },
  };
}

/** Sweeps to the next epoch. Each node has one lane at a time, and one message of it unanswered. */
async function sweep(playbook: Playbook, members: readonly Member[]): Promise<void> {
  await playbook.beginSweep(LANES);
  const taken = new Set<number>();
  const work = async (member: Member) => {
    for (;;) {
      const lane = playbook.status().sweep?.lanes.find((each) => !taken.has(each));
      if (lane === undefined) return;
      taken.add(lane);
      for (let given = true; playbook.status().sweep?.lanes.includes(lane); given = false) {
        const message = await playbook.nextMaintenance(STEP, lane, { given });
        if (message === undefined) break;
        const bytes = encodeMessage(message);
        wipeMessage(message);
        const [answer] = await Promise.all([member.maintain(bytes), playbook.lookAhead(STEP, lane)]);
        const outcome = await playbook.maintained(answer);
        if (outcome === undefined || outcome.missing.length + outcome.damaged.length > 0)
          throw new Error('a cell is missing or damaged');
      }
    }
  };
  await Promise.all(members.map(work));
  if (playbook.status().sweep !== undefined) throw new Error('the sweep has not ended');
}

async function measured(
  pid: number,
  playbook: Playbook,
  members: readonly Member[],
  all: readonly Member[],
): Promise<Cost> {
  const now = async () => {
    const { user, system } = process.cpuUsage();
    const used = await Promise.all(all.map((member) => member.usage()));
    const nodes = used.reduce((sum, ms) => sum + ms, 0) / 1_000;
    return { wall: performance.now() / 1_000, nodes, keys: (user + system) / 1e6, cassandra: await cpuSeconds(pid) };
  };
  const before = await now();
  await sweep(playbook, members);
  const after = await now();
  const spent = (part: keyof Cost) => after[part] - before[part];
  return { wall: spent('wall'), nodes: spent('nodes'), keys: spent('keys'), cassandra: spent('cassandra') };
}

/** Processor time of a process of this computer (Linux: 100 ticks a second). */
async function cpuSeconds(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch((cause: unknown) => {
    throw new MillraceError('E_INPUT', `there is no process ${pid}`, { cause });
  });
  const fields = stat.replace(/^.*\) /s, '').split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** A segments node in a process of its own. */
class Member {
  readonly #child: ChildProcess;
  readonly #waiting: ((message: FromMember) => void)[] = [];

  private constructor(child: ChildProcess) {
    this.#child = child;
    const answer = (message: FromMember) => this.#waiting.shift()?.(message);
    child.on('message', answer);
    child.once('exit', () => answer({ failed: 'a segments node has ended' }));
  }

  static async start(folder: string, settings: ClusterSettings): Promise<Member> {
    const program = fileURLToPath(new URL('./bench-nodes-member.js', import.meta.url));
    const child = fork(program, [JSON.stringify({ folder, settings })], { serialization: 'advanced' });
    const member = new Member(child);
    await member.#answer();
    return member;
  }

  async maintain(bytes: Uint8Array) {
    const answer = await this.#ask({ maintain: bytes });
    const message = 'maintained' in answer ? decodeMessage(answer.maintained) : undefined;
    if (message?.type !== 'maintained') throw new Error('a segments node did not answer a step');
    return message;
  }

  async usage(): Promise<number> {
    const answer = await this.#ask({ usage: true });
    return 'usage' in answer ? answer.usage : 0;
  }

  close(): void {
    this.#child.disconnect();
  }

  #ask(message: ToMember): Promise<FromMember> {
    const answer = this.#answer();
    this.#child.send(message);
    return answer;
  }

  async #answer(): Promise<FromMember> {
    const message = await new Promise<FromMember>((resolve) => this.#waiting.push(resolve));
    if ('failed' in message) throw new Error(message.failed);
    return message;
  }
}
