import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fromHex, MillraceError, systemRandom, toHex, utf8 } from '@millrace/base';
import { generateP256Key } from '@millrace/identity';
import type { Driver } from '@millrace/machine/parts';
import { storeDesign } from '@millrace/testkit/machine/agent-design';
import { type Bench, startBench } from '@millrace/testkit/machine/agent-harness';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { operate } from '../src/admin/index.ts';
import { openRunStore, type RunRecord } from '../src/agent/run-record.ts';

let bench: Bench | undefined;
afterEach(async () => {
  await bench?.close();
  bench = undefined;
});

const design = storeDesign(systemRandom(8 * 16_370));
const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const pendingReports = async (of: Bench) =>
  (await readdir(join(of.folder, 'data', 'reports'))).filter((name) => name.endsWith('.report'));

/** The run records of the bench's agent, opened with its key or another one. */
const runsOf = ({ config }: Bench, key = config.machineKey) =>
  openRunStore(config.data, { key, installation: config.directory.installation });

const unfinished = (change: Partial<RunRecord>): RunRecord => ({
  print: 'a'.repeat(32),
  run: 'b'.repeat(32),
  object: `${'c'.repeat(32)}-1`,
  started: true,
  segments: 12,
  sealed: '5ea1ed',
  ...change,
});

test('an agent that was killed during a print first reports it as failed, with the last known state', async () => {
  bench = await startBench({ design, start: false });
  await runsOf(bench).write(unfinished({}));
  await bench.restart();
  const { cloud } = bench;
  await cloud.print();
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed'));
  const [first, second] = cloud.reports;
  expect(first).toMatchObject({
    event: 'failed',
    object: `${'c'.repeat(32)}-1`,
    facts: {
      code: 'E_MACHINE',
      segments: 12,
      sealed: fromHex('5ea1ed'),
    },
  });
  expect(second?.event).toBe('started');
  expect(toHex(second?.run ?? new Uint8Array())).not.toBe('b'.repeat(32));
});

test('an agent that was killed before the machine started continues the same run', async () => {
  bench = await startBench({ design, start: false });
  const { cloud } = bench;
  const print = await cloud.print();
  cloud.queue.splice(0); // control has permitted the print and does not offer it again
  const begun = unfinished({
    print,
    object: undefined,
    started: false,
    segments: 0,
    sealed: undefined,
  });
  await runsOf(bench).write(begun);
  await bench.restart();
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed'));
  expect(cloud.requests.map(({ run, print: of }) => [toHex(run), of])).toEqual([['b'.repeat(32), print]]);
});

test('a run record that is damaged, edited or signed by another key is refused', async () => {
  bench = await startBench({ design, start: false });
  const path = join(bench.config.data, 'run.state');
  const refused = async () => {
    const said = expect.stringContaining('remove it');
    await expect(bench?.restart()).rejects.toMatchObject({ code: 'E_STORE', message: said });
  };
  await writeFile(path, '{"print":');
  await refused();
  await runsOf(bench, generateP256Key()).write(unfinished({}));
  await refused();
  await runsOf(bench).write(unfinished({ started: true }));
  const genuine = await readFile(path);
  for (let at = 0; at < genuine.length; at++) {
    const edited = Buffer.from(genuine);
    edited[at] = (edited[at] ?? 0) ^ 1;
    await writeFile(path, edited);
    await expect(runsOf(bench).read(), `byte ${at}`).rejects.toMatchObject({ code: 'E_STORE' });
  }
  await refused();
  expect(bench.cloud.requests).toEqual([]);
});

describe('queued reports', () => {
  /** An agent that has made an object and has five reports queued. */
  async function withReports(): Promise<{ data: string; folder: string; refused: () => Promise<void> }> {
    bench = await startBench({
      design,
      meddling: {
        refuse: (method) => (method === 'report' ? new MillraceError('E_UNAVAILABLE', 'not now') : undefined),
      },
    });
    await bench.cloud.print();
    while ((await pendingReports(bench)).length < 5) await pause(20);
    await bench.agent.close();
    const { data } = bench.config;
    const refused = () => expect(bench?.restart()).rejects.toMatchObject({ code: 'E_STORE' });
    return { data, folder: join(data, 'reports'), refused };
  }

  test.each([1, 3, 5])('report %i is missing: the agent stops until an operator intervenes', async (number) => {
    const { data, folder, refused } = await withReports();
    await rm(join(folder, `00000000000${number}.report`));
    await refused();
    // The remedy that the error names.
    await rm(folder, { recursive: true });
    await rm(join(data, 'reports.state'));
    await bench?.restart();
  });

  test('edited or inserted reports are rejected', async () => {
    const { folder, refused } = await withReports();
    const path = join(folder, '000000000002.report');
    const genuine = await readFile(path);
    const edited = Buffer.from(genuine);
    edited[60] = (edited[60] ?? 0) ^ 1;
    await writeFile(path, edited);
    await refused();
    await writeFile(path, genuine);
    await writeFile(join(folder, '000000000009.report'), genuine);
    await refused();
    await rm(join(folder, '000000000009.report'));
    await bench?.restart();
  });

  test('a report written just before the agent was killed is sent too', async () => {
    const { data, folder } = await withReports();
    const before = await readFile(join(data, 'reports.state'));
    const { cloud } = bench as Bench;
    cloud.meddling = {};
    await bench?.restart();
    await cloud.until(() => cloud.reports.length === 5);
    await expect.poll(() => readdir(folder), { timeout: 10_000 }).toEqual([]);
    await bench?.agent.close();
    expect((await readFile(join(data, 'reports.state'))).equals(before)).toBe(false);
  });
});

test('reports are kept on disk until control has answered, across restarts, in order', async () => {
  let away = true;
  bench = await startBench({
    design,
    meddling: {
      refuse: (method) => (method === 'report' && away ? new MillraceError('E_UNAVAILABLE', 'not now') : undefined),
    },
  });
  const { cloud } = bench;
  await cloud.print();
  while ((await pendingReports(bench)).length < 5) await pause(20);
  expect(cloud.reports).toEqual([]);
  await bench.agent.close();
  expect((await pendingReports(bench)).length).toBe(5);
  away = false;
  await cloud.print();
  await bench.restart();
  await cloud.until(() => cloud.reports.filter(({ event }) => event === 'completed').length === 2);
  const events = cloud.reports.map(({ event, object }) => `${event}${object.slice(-2)}`);
  const whole = (n: number) =>
    ['started', 'progressed', 'progressed', 'progressed', 'completed'].map((e) => `${e}-${n}`);
  expect(events).toEqual([...whole(1), ...whole(2)]);
  // The last report is removed once its answer has arrived.
  await expect.poll(() => pendingReports(bench as Bench), { timeout: 10_000 }).toEqual([]);
  await bench.agent.close();
  expect(await pendingReports(bench)).toEqual([]);
});

test('a report that control refuses is set aside and delays no other', async () => {
  bench = await startBench({
    design,
    meddling: {
      refuse: (method, call) =>
        method === 'report' && call === 3 ? new MillraceError('E_FORBIDDEN', 'not of this run') : undefined,
    },
  });
  const { cloud } = bench;
  await cloud.print();
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed'));
  const folder = join(bench.folder, 'data', 'reports');
  // The last report is removed once its answer has arrived.
  await expect.poll(() => readdir(folder), { timeout: 10_000 }).toEqual(['000000000001.report.refused']);
  await bench.agent.close();
  expect(await readdir(folder)).toEqual(['000000000001.report.refused']);
});

test('an agent that is stopped during a print cancels it and keeps the report', async () => {
  bench = await startBench({
    design,
    window: 4,
    meddling: {
      frame: (frame, segment) => (segment < 4 ? [frame] : []),
      refuse: (method, call) =>
        method === 'report' && call > 3 ? new MillraceError('E_UNAVAILABLE', 'not now') : undefined,
    },
  });
  const { cloud } = bench;
  await cloud.print();
  while (bench.executed().length < 4 * 16_370) await pause(10);
  await bench.agent.close();
  expect(cloud.reports.some(({ event }) => event === 'failed')).toBe(false);
  cloud.meddling = {};
  await bench.restart();
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'failed'));
  expect(cloud.reports.at(-1)?.facts).toMatchObject({
    code: 'E_MACHINE',
    segments: 4,
  });
  const [failure] = cloud.reports.filter(({ event }) => event === 'failed');
  if (failure !== undefined) expect(await cloud.openReport(failure)).toMatchObject({ reason: 'the agent was stopped' });
  expect(cloud.reports.filter(({ event }) => event === 'failed').length).toBe(1);
});

test('a machine with another serial number never calls home', async () => {
  bench = await startBench({ design, driver: { serial: 'SOMEBODY-ELSE' } });
  const { cloud, log } = bench;
  await cloud.print();
  while (!log.some((line) => line.includes('E_MACHINE_UNKNOWN'))) await pause(10);
  await cloud.until(() => cloud.connections > 0);
  await pause(100);
  expect(cloud.requests).toEqual([]);
});

test('a machine with other firmware is held until its operator resumes, also after a restart', async () => {
  let version = 'Marlin 2.1.2';
  const wrapDriver = (driver: Driver): Driver =>
    new Proxy(driver, {
      get: (whole, name: keyof Driver) => {
        if (name === 'identify') return async () => ({ ...(await whole.identify()), firmware: version });
        const part = whole[name];
        return typeof part === 'function' ? part.bind(whole) : part;
      },
    });
  bench = await startBench({ design, wrapDriver });
  const { cloud, folder } = bench;
  const completed = () => cloud.reports.filter(({ event }) => event === 'completed').length;
  await cloud.print();
  await cloud.until(() => completed() === 1);
  await bench.restart();
  await cloud.print();
  await cloud.until(() => completed() === 2);

  version = 'Marlin 2.1.3\u001b[2J';
  await cloud.print();
  const why = 'the controller has other firmware than before: Marlin 2.1.3?[2J, not Marlin 2.1.2';
  const held = async () => expect((await operate(folder, { command: 'status' })).held?.cause).toBe(why);
  await vi.waitFor(held, 30_000);
  await bench.restart();
  await held();
  expect(cloud.reports.filter(({ event }) => event === 'started').length).toBe(2);
  await operate(folder, { command: 'resume' });
  await cloud.until(() => completed() === 3);
  // Accepted: that firmware from now on, and the former one no more.
  version = 'Marlin 2.1.2';
  await cloud.print();
  await vi.waitFor(async () => expect((await operate(folder, { command: 'status' })).held).toBeDefined(), 30_000);
  expect(completed()).toBe(3);
});

test('a machine that is unplugged during a print: the print fails with its code, and the next one works', async () => {
  const lines = Array.from({ length: 2_000 }, (_, i) => `G1 X${i % 100} Y${(i * 7) % 100} F6000`).join('\n');
  bench = await startBench({
    design: storeDesign(utf8(`G28\n${lines}\n`)),
    kind: 'virtual',
    factor: 2_000,
    driver: { faults: { unpluggedAtLine: 900 } },
  });
  const { cloud } = bench;
  await cloud.print();
  await cloud.print();
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed'));
  const failed = cloud.reports.find(({ event }) => event === 'failed');
  expect(failed?.facts).toMatchObject({ code: 'E_MACHINE' });
  if (failed === undefined) throw new Error('no report');
  const own = await cloud.openReport(failed);
  expect(own.line).toBeGreaterThan(0);
  expect(own.line).toBeLessThanOrEqual(900);
  expect(own.reason).toContain('(line ');
});

test('a line that cannot be executed is reported only to the owner', async () => {
  const secret = 'G1 Xsecret-of-the-design';
  bench = await startBench({
    design: storeDesign(utf8(`G28\nG1 X5 F600\n${secret}\nG1 X6\n`)),
    kind: 'virtual',
  });
  const { cloud, log } = bench;
  await cloud.print();
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'failed'));
  const failed = cloud.reports.at(-1);
  if (failed === undefined) throw new Error('no report');
  expect(failed.facts).toMatchObject({ code: 'E_GCODE' });
  expect((await cloud.openReport(failed)).reason).toContain('line 3');
  await bench.agent.close();
  const record = await readFile(join(bench.config.data, 'objects', `${failed.object}.json`), 'utf8');
  expect([...Object.values(failed.facts), ...log, record].join('\n')).not.toContain('secret-of-the-design');
  expect(record).not.toMatch(/line \d/);
});

test('a violation of the machine’s safety policy is told to the owner, not to the operator', async () => {
  bench = await startBench({
    design: storeDesign(utf8('G28\nG1 X5 F600\nG1 X123.456\n')),
    kind: 'virtual',
    safety: {
      version: 1,
      volume: { x: [0, 100], y: [0, 100], z: [0, 100] },
      feed: { x: 6_000, y: 6_000, z: 600 },
    },
  });
  const { cloud, log } = bench;
  await cloud.print();
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'failed'));
  const failed = cloud.reports.at(-1);
  if (failed === undefined) throw new Error('no report');
  expect(failed.facts).toMatchObject({ code: 'E_SAFETY' });
  expect((await cloud.openReport(failed)).reason).toContain('line 3: X reaches 123.456 mm');
  await bench.agent.close();
  const record = await readFile(join(bench.config.data, 'objects', `${failed.object}.json`), 'utf8');
  const local = [...Object.values(failed.facts), ...log, record].join('\n');
  expect(local).toContain('Rule: volume.');
  expect(local).not.toMatch(/123\.456|line 3\b/);
});

test('the run record contains the machine’s position', async () => {
  bench = await startBench({
    design,
    window: 4,
    meddling: { frame: (frame, segment) => (segment < 6 ? [frame] : []) },
  });
  const { cloud } = bench;
  await cloud.print();
  await cloud.until(() => cloud.reports.some(({ event, facts }) => event === 'progressed' && facts.segments >= 6));
  const record = await runsOf(bench).read();
  expect(record).toMatchObject({ started: true, object: `${cloud.licenceId}-1` });
  expect(Object.keys(record ?? {}).sort()).toEqual(Object.keys(unfinished({})).sort());
});
