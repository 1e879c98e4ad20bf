import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeCbor, encodeCbor, MillraceError, sleep, toHex } from '@millrace/base';
import { createHttpClient, type HttpClient, nodesOf, tlsTo } from '@millrace/protocol';
import type { AddedNode } from '@millrace/testkit/added-nodes';
import { type Engine, startEngine } from '@millrace/testkit/engines';
import { enrol, type Job } from '@millrace/testkit/enrol';
import { healthOf } from '@millrace/testkit/health';
import { eventsOf } from '@millrace/testkit/job';
import type { Managed } from '@millrace/testkit/process';
import { addControl } from '@millrace/testkit/second-control';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, expect, it } from 'vitest';

// Two control nodes on one real Cassandra node, while many machines race for the objects of a licence: the active one is
// killed, frozen for longer than its lease, and both are cut off from Cassandra.

const OBJECTS = 12;
const RACERS = 4;
let engine: Engine | string;
let system: TestInstallation;
let second: AddedNode;
let folder: string | undefined;
const takeovers: string[] = [];

beforeAll(async () => {
  engine = await startEngine('cassandra');
  if (typeof engine === 'string') return console.log(engine);
  const { host, port, ca, user, password } = engine;
  const cluster = (scratch: string) => ({
    contactPoints: [`${host}:${port}`],
    localDataCenter: 'datacenter1',
    keyspace: 'control',
    copies: 1,
    login: { user, passwordFile: join(scratch, 'password') },
    tls: { authority: join(scratch, 'ca.pem') },
  });
  const settings = { boxes: { mail: { periodMs: 5_000, retentionMs: 0 } } };
  folder = await mkdtemp(join(tmpdir(), 'millrace-control-nodes-'));
  await writeFile(join(folder, 'password'), `${password}\n`, { mode: 0o600 });
  await writeFile(join(folder, 'ca.pem'), ca);
  system = await createTestInstallation({
    start: ['control'],
    settings: { control: { ...settings, cluster: cluster(folder) } },
  });
  second = await addControl(system, 'control-2', { ...settings, cluster: cluster(folder) });
  await second.process.start();
}, 240_000);
afterAll(async () => {
  await second?.process.kill();
  await system?.close();
  if (typeof engine === 'object') await engine.close();
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  if (takeovers.length > 0) console.log(`takeovers: ${takeovers.join('; ')}`);
});

const processes = (): Record<string, Managed> => ({
  'control-1': system.processes.control,
  'control-2': second.process,
});

/** What a control node answers to the question whether it is active. */
async function health(id: string): Promise<'active' | 'standby' | 'silent'> {
  const { directory } = system.installation;
  const [address] = nodesOf(directory, id)[0]?.addresses ?? [];
  if (address === undefined) throw new Error(`no address of ${id}`);
  return healthOf(directory, await system.identity('distribution'), address);
}

async function untilActive(id: string, limitMs = 60_000): Promise<number> {
  const began = performance.now();
  while ((await health(id)) !== 'active') {
    if (performance.now() - began > limitMs) throw new Error(`${id} does not become active`);
    await sleep(100);
  }
  return performance.now() - began;
}

const other = (id: string) => (id === 'control-1' ? 'control-2' : 'control-1');
async function activeOne(): Promise<string> {
  for (;;) {
    for (const id of ['control-1', 'control-2']) if ((await health(id)) === 'active') return id;
    await sleep(100);
  }
}

/** Two callers that know both nodes, as every caller does: one asks the first node first, one the second. */
async function openCallers(): Promise<HttpClient[]> {
  const { directory } = system.installation;
  const identity = await system.identity('distribution');
  const both = () => ['control-1', 'control-2'].flatMap((id) => nodesOf(directory, id)[0]?.addresses ?? []);
  return [both, () => both().reverse()].map((addresses) =>
    createHttpClient({ addresses, tls: tlsTo(directory, 'control', () => identity) }),
  );
}

/** One machine's request for the permit of its print, repeated until it is answered. @returns the permit, or a code */
async function callHome(client: HttpClient, machine: string, request: Uint8Array): Promise<string> {
  const body = encodeCbor({ request });
  for (const deadline = performance.now() + 120_000; ; await sleep(200)) {
    try {
      const path = `/v1/machines/${machine}/call-home`;
      const { body: answer } = await client.call('POST', path, { body, timeoutMs: 20_000 });
      const { permit } = decodeCbor(new Uint8Array(answer), 'answer') as { permit: Uint8Array };
      return toHex(permit);
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error;
      if (!error.retryable || performance.now() > deadline) return error.code;
    }
  }
}

/** Two runs of each print's machine call home over both callers, twice: a repeated request gets the same permit. */
async function race(job: Job, prints: readonly string[]): Promise<void> {
  const callers = await openCallers();
  await Promise.all(
    prints.map(async (print, i) => {
      const index = i % RACERS;
      const machine = job.machines[index]?.machine ?? '';
      const runs = await Promise.all([0, 1].map(() => job.request(print, index)));
      const answers = await Promise.all(
        runs.map(async (run) => {
          const of = () => Promise.all(callers.map((client) => callHome(client, machine, run)));
          return new Set([...(await of()), ...(await of())]);
        }),
      );
      const shown = JSON.stringify(answers.map((of) => [...of].map((answer) => answer.slice(0, 20))));
      const granted = answers.flatMap((of) => [...of].filter((answer) => !answer.startsWith('E_')));
      expect(granted, `permits of ${print}: ${shown}`).toHaveLength(1);
    }),
  );
  for (const client of callers) client.close();
}

async function logOf(id: string): Promise<string> {
  return readFile(processes()[id]?.logFile ?? '', 'utf8');
}

it('permits exactly N objects, through a kill, a frozen and a cut-off active node', async ({ skip }) => {
  if (typeof engine === 'string') return skip(engine);
  const cassandra = engine;
  expect(await health('control-1')).toBe('active');
  expect(await health('control-2')).toBe('standby');
  const job = await enrol(system, { objects: OBJECTS, machines: RACERS });
  const prints: string[] = [];
  for (let i = 0; i < OBJECTS; i++) prints.push(await job.print(i % RACERS));
  await expect(job.print(0)).rejects.toThrow(/E_LICENCE_EXHAUSTED/);
  const pids = () => Object.values(processes()).map(({ pid }) => pid);
  const noteTakeover = (what: string, ms: number) => takeovers.push(`${what} ${(ms / 1_000).toFixed(1)} s`);

  const killed = await activeOne();
  let racing = race(job, prints.slice(0, 4));
  await sleep(100);
  await processes()[killed]?.kill();
  noteTakeover('killed', await untilActive(other(killed)));
  await racing;
  await processes()[killed]?.start();
  expect(await health(killed)).toBe('standby');

  const frozen = await activeOne();
  const before = pids();
  racing = race(job, prints.slice(4, 8));
  await sleep(100);
  processes()[frozen]?.signal('SIGSTOP');
  noteTakeover('frozen', await untilActive(other(frozen)));
  await sleep(2_000);
  processes()[frozen]?.signal('SIGCONT');
  await racing;
  await expect.poll(() => health(frozen), { timeout: 60_000 }).toBe('standby');
  await expect.poll(() => logOf(frozen), { timeout: 10_000 }).toMatch(/E_FENCED/); // logs are written a moment later
  expect(pids()).toEqual(before);

  racing = race(job, prints.slice(8));
  await sleep(100);
  cassandra.freeze();
  const began = performance.now();
  while (
    [await health('control-1'), await health('control-2')].includes('active') &&
    performance.now() - began < 60_000
  )
    await sleep(200);
  cassandra.resume();
  const resumed = performance.now();
  await activeOne();
  noteTakeover('after Cassandra answers again', performance.now() - resumed);
  await racing;
  expect(pids()).toEqual(before);

  // What was acknowledged is there, and nothing else: each object once, in the records and in the ledger.
  const operator = await system.session('operator');
  const views = await Promise.all(prints.map((print) => operator.api.print(print)));
  const objects = views.map(({ object }) => object);
  expect(new Set(objects).size).toBe(OBJECTS);
  expect(views.map(({ state }) => state)).toEqual(prints.map(() => 'permitted'));
  for (const object of objects)
    expect((await eventsOf(operator, object ?? '')).filter((event) => /permit/.test(event))).toHaveLength(1);
}, 300_000);
