import { mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { MillraceError, systemClock, systemRandom, utf8 } from '@millrace/base';
import {
  type EventRequest,
  ed25519NoteSigner,
  type Ledger,
  mapKey,
  openCheckpoint,
  openLedger,
  parseVerifierKey,
  readMapRoot,
  SALT_LENGTH,
  verifyInclusion,
  verifyMapProof,
} from '@millrace/ledger';
import { type Lmdb, openLmdb } from '@millrace/stores';
import { open, type RootDatabase } from 'lmdb';
import { type Bench, type Candidate, measure, type Row, rowOf } from './bench.ts';
import { openPermitBench } from './bench-permits.ts';

const IN_FLIGHT = 256;
const EVENT_BYTES = 300;
const RUNS = 5;
/** Appends of one run. */
const MANY = 32 * IN_FLIGHT;
const ALONE = 200;
const DEFAULT_SIZE = 20_000;
/** Events of each account. */
const PER_ACCOUNT = 8;
/** Accounts that change before the root of their map is logged, as in a control node. */
const MAP_CHANGES = 2_048;
const PERMITS = 1_024;
const PERMITS_ALONE = 100;
const PERMIT_ROUNDS = 3;
/** Requests that are made at a time. */
const PREPARED = 65_536;
const PROOFS = 200;
const ORIGIN = 'bench.example/log';

const MANY_ROW = `ledger, ${IN_FLIGHT} in flight`;
const PLAIN_MANY_ROW = `plain LMDB, ${IN_FLIGHT} puts a commit`;
const ALONE_ROW = 'ledger, one at a time';
const PLAIN_ALONE_ROW = 'plain LMDB, one put a commit';

/**
 * Measures durable appends of 300-byte events, compared with plain LMDB commits to the same disk, then growth to a
 * given size: bytes, memory, proofs. `npm run bench -- ledger [ENTRIES]`.
 */
export const benchLedger: Bench = async (note, [size = String(DEFAULT_SIZE)]) => {
  const wanted = Number(size);
  if (!Number.isSafeInteger(wanted) || wanted < 1) throw new MillraceError('E_INPUT', 'ENTRIES: expected a number');
  const folder = resolve('.bench');
  await mkdir(folder, { recursive: true });
  const base = await mkdtemp(join(folder, 'ledger-'));
  const lmdb = openLmdb({ path: join(base, 'ledger') });
  const plain = open<Buffer, number>({ path: join(base, 'plain'), encoding: 'binary' });
  try {
    const ledger = await openLedger({
      store: lmdb.log('ledger'),
      signer: ed25519NoteSigner(ORIGIN, systemRandom(32)),
      origin: ORIGIN,
      clock: systemClock,
      map: { changes: MAP_CHANGES },
    });
    const extra: Row[] = [];
    const report = await measure(candidates(ledger, plain, extra), RUNS, [
      [`${MANY_ROW} : plain LMDB`, MANY_ROW, PLAIN_MANY_ROW],
      [`${ALONE_ROW} : plain LMDB`, ALONE_ROW, PLAIN_ALONE_ROW],
    ]);
    const grown = await growth(ledger, join(base, 'ledger', 'data.mdb'), wanted, note);
    const permitted = await permits(lmdb, ledger, plain, note);
    await ledger.close();
    return { ...report, rows: [...report.rows, ...extra, ...grown, ...permitted] };
  } finally {
    await plain.close();
    await lmdb.close();
    await rm(base, { recursive: true, force: true, maxRetries: 3 });
  }
};

/** Adds rows of latencies and processor time of the last run to `extra`. */
function candidates(ledger: Ledger, plain: RootDatabase<Buffer, number>, extra: Row[]): Candidate[] {
  const value = Buffer.from(systemRandom(EVENT_BYTES + SALT_LENGTH));
  let key = 0;
  const commit = (puts: number) => {
    plain.transactionSync(() => {
      for (let i = 0; i < puts; i++) plain.putSync(key++, value);
    });
  };
  const keep = (...rows: readonly Row[]) => {
    for (const row of rows) {
      const at = extra.findIndex(({ name }) => name === row.name);
      extra.splice(at < 0 ? extra.length : at, at < 0 ? 0 : 1, row);
    }
  };
  return [
    {
      name: MANY_ROW,
      unit: 'appends/s',
      run: async () => {
        const { seconds, latencies, microseconds } = await appendAll(ledger, MANY, IN_FLIGHT);
        keep(...percentiles(MANY_ROW, latencies));
        keep(rowOf(`${MANY_ROW}: processor time an append`, 'µs', [microseconds]));
        return MANY / seconds;
      },
    },
    {
      name: PLAIN_MANY_ROW,
      unit: 'puts/s',
      run: () => {
        const started = performance.now();
        const cpu = process.cpuUsage();
        for (let done = 0; done < MANY; done += IN_FLIGHT) commit(IN_FLIGHT);
        const { user, system } = process.cpuUsage(cpu);
        keep(rowOf(`${PLAIN_MANY_ROW}: processor time a put`, 'µs', [(user + system) / MANY]));
        return (1_000 * MANY) / (performance.now() - started);
      },
    },
    {
      name: ALONE_ROW,
      unit: 'appends/s',
      run: async () => {
        const { seconds, latencies } = await appendAll(ledger, ALONE, 1);
        keep(...percentiles(ALONE_ROW, latencies));
        return ALONE / seconds;
      },
    },
    {
      name: PLAIN_ALONE_ROW,
      unit: 'puts/s',
      run: () => {
        const started = performance.now();
        for (let i = 0; i < ALONE; i++) commit(1);
        return (1_000 * ALONE) / (performance.now() - started);
      },
    },
  ];
}

/** Events of machines, eight per account, each encoded in about 300 bytes. */
function* events(): Generator<EventRequest, never> {
  for (let accounts = 0; ; accounts++) {
    const account = `machine:${accounts.toString(16).padStart(32, '0')}`;
    for (let i = 0; i < PER_ACCOUNT; i++) {
      const body = { serial: 'SN-42', digest: systemRandom(EVENT_BYTES - 224) };
      yield { account, type: 'machine', actor: 'a'.repeat(32), body, eventId: `${account}/${i}` };
    }
  }
}

/** Permits through control's real path, in this process. */
async function permits(
  lmdb: Lmdb,
  ledger: Ledger,
  plain: RootDatabase<Buffer, number>,
  note: (text: string) => void,
): Promise<Row[]> {
  note('permits are prepared');
  const bench = await openPermitBench(lmdb, ledger);
  const rates: number[] = [];
  const [alone, beside, together]: [number[], number[], number[]] = [[], [], []];
  const value = Buffer.from(systemRandom(EVENT_BYTES + SALT_LENGTH));
  let cpu = 0;
  for (let round = -1; round < PERMIT_ROUNDS; round++) {
    for (const asked of await bench.prepare(PERMITS_ALONE)) {
      const started = performance.now();
      await bench.permit(asked);
      const permitted = performance.now();
      // A plain commit after each permit meets the same load and the same disk.
      plain.transactionSync(() => plain.putSync(0, value));
      if (round < 0) continue;
      alone.push(permitted - started);
      beside.push(performance.now() - permitted);
    }
    const many = await runAll(await bench.prepare(PERMITS), IN_FLIGHT, bench.permit);
    if (round < 0) continue;
    together.push(...many.latencies);
    rates.push(PERMITS / many.seconds);
    cpu = many.microseconds;
  }
  return [
    rowOf(`permits, ${IN_FLIGHT} in flight`, 'permits/s', rates),
    rowOf(`permits, ${IN_FLIGHT} in flight: processor time a permit`, 'µs', [cpu]),
    ...percentiles(`permits, ${IN_FLIGHT} in flight`, together),
    ...percentiles('permits, one at a time', alone),
    ...percentiles('plain LMDB, one put between two permits', beside),
  ];
}

const source = events();

/** Runs `work` for all items, `inFlight` at a time. */
async function runAll<T>(items: readonly T[], inFlight: number, work: (item: T) => Promise<unknown>) {
  const latencies: number[] = [];
  let next = 0;
  const worker = async () => {
    for (let item = items[next++]; item !== undefined; item = items[next++]) {
      const started = performance.now();
      await work(item);
      latencies.push(performance.now() - started);
    }
  };
  const before = process.cpuUsage();
  const started = performance.now();
  await Promise.all(Array.from({ length: inFlight }, worker));
  const seconds = (performance.now() - started) / 1_000;
  const { user, system } = process.cpuUsage(before);
  return { seconds, latencies, microseconds: (user + system) / items.length };
}

/**
 * Moves prepared requests out of the young generation of V8's heap. Otherwise the first collections of the measured run
 * copy them twice, which took as long as a fifth of the appends. A server's requests are dropped as they are answered.
 */
function settle(): void {
  setFlagsFromString('--expose-gc');
  const collect: (options: { type: 'minor' }) => void = runInNewContext('gc');
  for (let times = 0; times < 2; times++) collect({ type: 'minor' });
}

/** The requests are made beforehand, so that only appends are measured. */
async function appendAll(ledger: Ledger, count: number, inFlight: number) {
  const latencies: number[] = [];
  let seconds = 0;
  let microseconds = 0;
  for (let left = count; left > 0; left -= PREPARED) {
    const requests = Array.from({ length: Math.min(PREPARED, left) }, () => source.next().value);
    settle();
    const run = await runAll(requests, inFlight, (request) => ledger.append(request));
    if (latencies.length < PREPARED) latencies.push(...run.latencies.slice(0, PREPARED));
    seconds += run.seconds;
    microseconds += (run.microseconds * requests.length) / count;
  }
  return { seconds, latencies, microseconds };
}

function percentiles(name: string, latencies: readonly number[]): Row[] {
  const sorted = [...latencies].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
  return [rowOf(`${name}: latency p50`, 'ms', [at(0.5)]), rowOf(`${name}: latency p99`, 'ms', [at(0.99)])];
}

async function growth(ledger: Ledger, file: string, wanted: number, note: (text: string) => void): Promise<Row[]> {
  const first = ledger.size;
  const memory: number[] = [];
  const rates: number[] = [];
  const steps = 10;
  for (let step = 0; step < steps; step++) {
    const goal = first + Math.floor(((wanted - first) * (step + 1)) / steps);
    const count = Math.max(0, goal - ledger.size);
    if (count === 0) continue;
    const { seconds, microseconds } = await appendAll(ledger, count, 4 * IN_FLIGHT);
    rates.push(count / seconds);
    // Pages of the memory-mapped file count towards the resident set. The heap shows the memory of the ledger itself.
    const { heapUsed, external } = process.memoryUsage();
    memory.push((heapUsed + external) / 2 ** 20);
    const size = ledger.size.toLocaleString('en');
    note(
      `${size} entries, ${Math.round(rates.at(-1) ?? 0).toLocaleString('en')} appends/s, ${microseconds.toFixed(1)} µs of processor time an append, ${Math.round(memory.at(-1) ?? 0)} MiB`,
    );
  }
  const rows: Row[] = [];
  if (rates.length > 0)
    rows.push(
      rowOf(`growth to ${ledger.size.toLocaleString('en')} entries`, 'appends/s', rates),
      rowOf('memory of JavaScript while it grows', 'MiB', memory),
    );
  // Includes the space that LMDB keeps free for the next commit.
  const disk = rowOf('file of the store, an entry', 'bytes', [(await stat(file)).size / ledger.size]);
  return [...rows, disk, ...(await proofs(ledger)), ...(await mapProofs(ledger))];
}

async function proofs(ledger: Ledger): Promise<Row[]> {
  const { size, root } = openCheckpoint(ledger.checkpoint(), { logKey: parseVerifierKey(ledger.logKey) });
  const making: number[] = [];
  const verifying: number[] = [];
  const bytes: number[] = [];
  for (let i = 0; i < PROOFS; i++) {
    const index = Math.floor((i * size) / PROOFS);
    const started = performance.now();
    const proof = await ledger.proveInclusion(index);
    making.push(performance.now() - started);
    const { hash } = await ledger.entry(index);
    const read = performance.now();
    if (!verifyInclusion(hash, index, size, proof, root))
      throw new MillraceError('E_INTERNAL', 'a proof does not hold');
    verifying.push(performance.now() - read);
    bytes.push(proof.length * 32);
  }
  return [
    rowOf('inclusion proof', 'bytes', bytes),
    rowOf('making an inclusion proof', 'ms', making),
    rowOf('verifying an inclusion proof', 'ms', verifying),
  ];
}

/** Proofs of presence in the map of accounts, and the cost of logging its root. */
async function mapProofs(ledger: Ledger): Promise<Row[]> {
  const updates: number[] = [];
  for (let round = 0; round < RUNS; round++) {
    await ledger.logMap();
    await appendAll(ledger, PER_ACCOUNT * (MAP_CHANGES - 1), IN_FLIGHT);
    const started = performance.now();
    await ledger.logMap();
    updates.push((1_000 * (performance.now() - started)) / (MAP_CHANGES - 1));
  }
  const making: number[] = [];
  const verifying: number[] = [];
  const bytes: number[] = [];
  const { root, salt } = readMapRoot(await ledger.logMap());
  for (let i = 0; i < PROOFS; i++) {
    const { account } = (await ledger.entry(Math.floor((i * ledger.size) / (2 * PROOFS)))).event;
    const head = await ledger.head(account);
    const started = performance.now();
    const proof = (await ledger.mapProofs([account]))?.proofs[0];
    making.push(performance.now() - started);
    if (proof === undefined || head === undefined) throw new MillraceError('E_INTERNAL', 'an account has no proof');
    const made = performance.now();
    const holds = verifyMapProof(root, mapKey(salt, utf8(account)), head, proof);
    verifying.push(performance.now() - made);
    // The map's own account has a newer event than the map shows.
    if (!holds && head.kind !== 'map') throw new MillraceError('E_INTERNAL', 'a proof in the map does not hold');
    bytes.push(32 * proof.siblings.length);
  }
  return [
    rowOf('logging the map: an account that changed', 'µs', updates),
    rowOf('proof in the map', 'bytes', bytes),
    rowOf('making a proof in the map', 'ms', making),
    rowOf('verifying a proof in the map', 'ms', verifying),
  ];
}
