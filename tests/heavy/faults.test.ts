import { copyFile, mkdir } from 'node:fs/promises';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { sleep } from '@millrace/base';
import { nodesOf } from '@millrace/protocol';
import { noisyGcode } from '@millrace/testkit/designs';
import { type Load, startLoad } from '@millrace/testkit/faults/load';
import { type ActivityName, activities as all, createObserver, type Observer } from '@millrace/testkit/faults/observer';
import { type FaultSystem, openFaultSystem, type Part } from '@millrace/testkit/faults/system';
import { Random } from '@millrace/testkit/fuzz/random';
import { factorFor } from '@millrace/testkit/pace';
import { afterAll, beforeAll, expect, it } from 'vitest';

// Three Cassandra nodes, three Kafka brokers and two of each Millrace node, all under load. Each kind of part is killed
// and frozen, alone and together with each other kind; then the network is split between the halves. With
// MILLRACE_SERVERS=1 there is one server of each engine, which fits two cores: what is acknowledged must not be lost
// there either, but everything waits for a server that is away. MILLRACE_SERVERS=3,1 is three Cassandra nodes and one
// Kafka broker, 1,3 the reverse; the network is not split then.
//
// MILLRACE_PAUSES is a factor for the pauses of the load between permits and between uploads: 3 lets two cores run all
// six servers. TMPDIR on a tmpfs spares the one disk what six servers and nine nodes sync.
//
// MILLRACE_FAULTS is a regular expression for the names of the faults. MILLRACE_PAIRS takes so many of the pairs; which
// ones MILLRACE_SEED decides. No fault begins later than MILLRACE_MINUTES after the start. MILLRACE_LOGS is a folder to
// which the logs are copied. MILLRACE_CHECK_EVERY=4 checks after every fourth fault, and after the last, that nothing is
// lost.

const kinds = ['cassandra', 'kafka', 'control', 'keys', 'segments', 'distribution'] as const;
type Kind = (typeof kinds)[number];
const ways = ['killed', 'frozen'] as const;
interface Loss {
  readonly kind: Kind;
  readonly how: (typeof ways)[number];
}

const [nodes = 3, brokers = nodes] = (process.env.MILLRACE_SERVERS ?? '3').split(',').map(Number);
const servers = { cassandra: nodes, kafka: brokers };

/** What goes on while a part of a kind is lost. The others go on when it is back. */
const goesOn = (kind: Kind): readonly ActivityName[] =>
  (kind === 'cassandra' || kind === 'kafka') && servers[kind] === 1 ? [] : all;

/** A lost part is away for longer than the lease of control (8 s) and the sessions of the engines (6 s). */
const AWAY_MS = 12_000;
/** Longest recovery that is accepted on a busy computer; the aim is half of it. */
const RECOVERY_MS = 120_000;
/** As long as machines wait for data by default. */
const GIVE_UP_MS = 600_000;
const CHECK_EVERY = Number(process.env.MILLRACE_CHECK_EVERY ?? 1);
const OBJECTS = 3;
const PRINT_SECONDS = 15;

const random = new Random(Number(process.env.MILLRACE_SEED ?? 1));
const singles = kinds.flatMap((kind) => ways.map((how): readonly Loss[] => [{ kind, how }]));
const pairs = shuffled(
  kinds.flatMap((first, i) =>
    kinds.slice(i + 1).flatMap((second) =>
      ways.flatMap((a) =>
        ways.map((b): readonly Loss[] => [
          { kind: first, how: a },
          { kind: second, how: b },
        ]),
      ),
    ),
  ),
).slice(0, Number(process.env.MILLRACE_PAIRS ?? Number.POSITIVE_INFINITY));
const nameOf = (losses: readonly Loss[]) => losses.map(({ kind, how }) => `${kind} ${how}`).join(' + ');
const chosen = new RegExp(process.env.MILLRACE_FAULTS ?? '');
const faults = [...singles, ...pairs]
  .map((losses) => ({ name: nameOf(losses), losses }))
  .filter(({ name }) => chosen.test(name));

const last = Date.now() + Number(process.env.MILLRACE_MINUTES ?? Number.POSITIVE_INFINITY) * 60_000;

const part = noisyGcode(120_000);
let faulty: FaultSystem | string;
let load: Load;
let observer: Observer;
const rows: string[] = [];

beforeAll(async () => {
  const began = Date.now();
  faulty = await openFaultSystem({
    machine: { factor: await factorFor(part, PRINT_SECONDS), giveUpMs: GIVE_UP_MS },
    maintenance: { periodMs: 1_000, density: 50 },
    servers,
  });
  if (typeof faulty === 'string') return console.log(faulty);
  const { system } = faulty;
  const options = {
    ...{ system, part, racers: 3, pauses: Number(process.env.MILLRACE_PAUSES ?? 1) },
    owner: await system.session('owner'),
    operator: await system.session('operator'),
    admin: await system.session('admin'),
  };
  load = await startLoad(options);
  observer = createObserver({ ...options, load, keysLogs: faulty.keysLogs });
  await observer.goOn(Date.now(), all, 2 * RECOVERY_MS);
  const since = Date.now();
  await sleep(AWAY_MS);
  const pause = await observer.sweepPause(since);
  console.log(`everything runs after ${seconds(since - began)} s; sweep pause undisturbed ${seconds(pause)} s`);
}, 900_000);
afterAll(async () => {
  if (rows.length > 0)
    console.log(
      [
        '| fault | permits | streams | commits | uploads | back | sweep pause | load |',
        '|---|---|---|---|---|---|---|---|',
        ...rows,
      ].join('\n'),
    );
  if (typeof faulty !== 'object') return;
  for (const { name, failures, successes } of Object.values(load?.activities ?? {}))
    console.log(`${name}: ${successes.length} acknowledged, not acknowledged: ${JSON.stringify([...failures])}`);
  console.log(`ended by themselves and started again: ${JSON.stringify([...faulty.restarts])}`);
  await load?.close();
  const folder = process.env.MILLRACE_LOGS;
  if (folder !== undefined) {
    await mkdir(folder, { recursive: true });
    for (const { name, logFile } of [...faulty.nodes.values(), faulty.system.processes.machine])
      await copyFile(logFile, join(folder, `${name}.log`)).catch(() => undefined); // it has not logged
  }
  await faulty.close();
}, 120_000);

/** The part that hurts: the active control node or replica of the keys node, otherwise any. */
async function partOf(kind: Kind): Promise<Part> {
  if (typeof faulty === 'string') throw new Error(faulty);
  const parts = faulty.parts(kind);
  if (kind === 'keys') {
    const active = await faulty.activeKeys();
    return parts.find(({ name }) => name === active) as Part;
  }
  if (kind !== 'control') return parts[random.below(parts.length)] as Part;
  for (;;) {
    const health = await faulty.health();
    const active = parts.find(({ name }) => health.get(name) === 'active');
    if (active !== undefined) return active;
    await sleep(100);
  }
}

function shuffled<T>(items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, at: random.u32() }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item);
}

const seconds = (ms: number | undefined) => (ms === undefined ? '' : (ms / 1_000).toFixed(1));

it.for(faults)('$name', { timeout: 500_000 }, async ({ name, losses }, { skip }) => {
  if (typeof faulty === 'string') return skip(faulty);
  if (Date.now() > last) return skip('MILLRACE_MINUTES are over');
  const licence = await load.grant(OBJECTS);
  const lost = await Promise.all(losses.map(async ({ kind, how }) => ({ part: await partOf(kind), how })));
  const racing = load.race(licence, OBJECTS);
  racing.catch(() => undefined); // awaited below
  await sleep(150);
  const since = Date.now();
  await Promise.all(lost.map(async ({ part, how }) => (how === 'killed' ? part.kill() : part.freeze())));
  const unaffected = all.filter((each) => losses.every(({ kind }) => goesOn(kind).includes(each)));
  const figures = await disturbed(since, unaffected, () => Promise.all(lost.map(({ part, how }) => part.back(how))));
  await racing;
  await note(name, figures, unaffected, since);
  console.log(`${rows.at(-1)} (${lost.map(({ part }) => part.name).join(', ')})`);
  if (rows.length % CHECK_EVERY === 0 || name === faults.at(-1)?.name) await observer.expectNothingLost();
});

interface Figures {
  readonly after: Map<ActivityName, number>;
  /** From the return until everything goes on. */
  readonly back: number;
}

/** Waits until what has to go on does, ends the disturbance, waits until everything goes on. */
async function disturbed(
  since: number,
  unaffected: readonly ActivityName[],
  end: () => Promise<unknown>,
): Promise<Figures> {
  let after: Map<ActivityName, number>;
  try {
    after = await observer.goOn(since, unaffected, RECOVERY_MS);
    await sleep(Math.max(0, since + AWAY_MS - Date.now()));
  } finally {
    await end();
  }
  const again = await observer.goOn(Date.now(), all, RECOVERY_MS);
  for (const each of all) if (!after.has(each)) after.set(each, again.get(each) ?? Number.NaN);
  return { after, back: Math.max(...again.values()) };
}

/** Figures that count from the return of the lost parts have an asterisk. */
async function note(name: string, { after, back }: Figures, unaffected: readonly ActivityName[], since: number) {
  const shown = all.map((each) => `${seconds(after.get(each))}${unaffected.includes(each) ? '' : '*'}`);
  const pause = seconds(await observer.sweepPause(since));
  rows.push(`| ${[name, ...shown, seconds(back), pause, loadavg()[0]?.toFixed(0)].join(' | ')} |`);
}

// Half A has the first of everything and keys-1-b, half B the rest: of three servers of an engine the majority.
it.runIf(chosen.test('network split')).for(['control-1', 'control-2'])(
  'network split while %s is active: one ledger writer, and one permit for each object',
  { timeout: 500_000 },
  async (id, { skip }) => {
    if (typeof faulty === 'string') return skip(faulty);
    if (Date.now() > last) return skip('MILLRACE_MINUTES are over');
    const { halves, health, ledgerHead, majority } = faulty;
    if (typeof halves === 'string') return skip(`the network is not split: ${halves}`);
    if (majority === undefined) return skip('no half has the majority of both engines');
    await makeActive(id);
    const licence = await load.grant(2 * OBJECTS);
    const { directory } = faulty.system.installation;
    const sides = ['control-1', 'control-2'].map((each) => nodesOf(directory, each)[0]?.addresses[0]);
    const watch = watchWriters(health, ledgerHead);
    halves.cut();
    const since = Date.now();
    // Both sides are asked for permits of the same prints.
    const racing = load.raceAt(
      licence,
      2 * OBJECTS,
      sides.filter((side) => side !== undefined),
    );
    racing.catch(() => undefined); // awaited below
    const without = majority === 'a' ? 'control-2' : 'control-1';
    const figures = await disturbed(since, all, async () => {
      const states = await health();
      halves.heal();
      expect(states.get(without), `${without} without a majority`).not.toBe('active');
    }).finally(() => watch.stop());
    const answers = await racing;
    await note(`network split, ${id} active`, figures, all, since);
    console.log(rows.at(-1));
    expect(answers.filter((answer) => !answer.startsWith('E_'))).toHaveLength(2 * OBJECTS);
    const { both, heads } = await watch.seen;
    expect(both, 'both say that they are active').toBe(0);
    for (const [i, head] of heads.entries()) {
      const before = heads[i - 1] ?? head;
      expect(head.newest).toBeGreaterThanOrEqual(before.newest);
      expect(head.writer).toBeGreaterThanOrEqual(before.writer);
      expect(head.batch).toBeGreaterThanOrEqual(before.batch);
    }
    expect(heads.at(-1)?.batch).toBeGreaterThan(heads[0]?.batch ?? 0);
    await observer.expectNothingLost();
  },
);

async function makeActive(id: string): Promise<void> {
  const active = await partOf('control');
  if (active.name === id) return;
  await active.kill();
  const now = await partOf('control');
  expect(now.name).toBe(id);
  await active.back('killed');
}

/** Looks at both control nodes, and at the fencing tokens in the head of the ledger, until it is stopped. */
function watchWriters(health: FaultSystem['health'], ledgerHead: FaultSystem['ledgerHead']) {
  let stopped = false;
  const watch = async () => {
    let both = 0;
    const heads: Awaited<ReturnType<FaultSystem['ledgerHead']>>[] = [];
    for (; !stopped; await sleep(200)) {
      const looks = [await health(), await health()];
      // Asked twice: the first to answer may have lost the lease before the second one took it.
      if (looks.every((look) => [...look.values()].every((answer) => answer === 'active'))) both++;
      heads.push(await ledgerHead());
    }
    return { both, heads };
  };
  const seen = watch();
  seen.catch(() => undefined); // awaited after the split
  return {
    seen,
    stop: () => {
      stopped = true;
    },
  };
}
