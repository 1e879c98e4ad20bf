import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { systemRandom } from '@millrace/base';
import { registrationHash } from '@millrace/protocol';
import { TestCloud } from '@millrace/testkit/machine/agent-cloud';
import { storeDesign } from '@millrace/testkit/machine/agent-design';
import { settingsOf, writeFolder } from '@millrace/testkit/machine/agent-harness';
import { createPeople } from '@millrace/testkit/protocol/people';
import { afterEach, expect, onTestFailed, test } from 'vitest';
import { loadMachineConfig } from '../src/agent/config.ts';

const main = fileURLToPath(new URL('../dist/program/main.js', import.meta.url));
const design = storeDesign(systemRandom(12 * 16_370));

let cloud: TestCloud | undefined;
let folder: string | undefined;
const children: ChildProcess[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await cloud?.close();
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  [cloud, folder] = [undefined, undefined];
});

interface Running {
  readonly child: ChildProcess;
  readonly exit: Promise<number | null>;
  readonly said: string[];
  readonly logged: string[];
  ready(): Promise<void>;
}

function run(args: readonly string[], ipc = false): Running {
  const child = spawn(process.execPath, [main, ...args], {
    stdio: ['ignore', 'pipe', 'pipe', ...(ipc ? (['ipc'] as const) : [])],
  });
  children.push(child);
  const [said, logged]: [string[], string[]] = [[], []];
  onTestFailed(() => console.log(logged.join('\n')));
  const { stdout, stderr } = child;
  if (stdout === null || stderr === null) throw new Error('no pipes');
  const lines = createInterface(stdout).on('line', (line) => said.push(line));
  createInterface(stderr).on('line', (line) => logged.push(line));
  const exit = once(child, 'exit').then(([code]) => code as number | null);
  return {
    child,
    said,
    logged,
    exit,
    ready: async () => {
      if (said.length > 0) return;
      const ended = exit.then((code) => {
        throw new Error(`the process ended with ${code}`);
      });
      await Promise.race([once(lines, 'line'), ended]);
    },
  };
}

async function setUp(
  options: Partial<Parameters<typeof TestCloud.start>[0]> = {},
): Promise<{ args: string[]; cloud: TestCloud }> {
  const profile = { factor: 1_000, bytesPerSecond: 100_000 };
  cloud = await TestCloud.start({ design, window: 4, machine: { serial: 'MR-1', kind: 'sink', profile }, ...options });
  folder = await writeFolder(cloud, settingsOf(cloud));
  return { args: ['--folder', folder, '--distribution', `127.0.0.1:${cloud.address.port}`], cloud };
}

test('the process reports that it is ready, makes an object, and exits cleanly on a signal', async () => {
  const { args, cloud } = await setUp();
  const agent = run(args);
  await agent.ready();
  expect(agent.said).toEqual(['{"ready":true,"role":"machine"}']);
  await cloud.print();
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed'));
  agent.child.kill('SIGTERM');
  expect(await agent.exit).toBe(0);
  expect(agent.said.length).toBe(1);
  for (const line of agent.logged) expect(JSON.parse(line)).toHaveProperty('msg');
});

test('it starts again with settings of its organisation, and makes an object with them', async () => {
  const { args, cloud } = await setUp();
  const people = createPeople({ admin: cloud.admin, installation: cloud.directory.installation });
  const { organisation, ...bureau } = await people.organisation('Bureau', 'bureau');
  const { key, credential } = await people.person({ organisation, ...bureau }, 'Olga', ['operator']);
  const { machine } = cloud.registration;
  const registration = registrationHash(cloud.registration);
  const held = { type: 'machine.assign', machine, registration, organisation, number: 1 } as const;
  const settings = { type: 'machine.settings' as const, organisation, number: 7, machines: [machine] };
  const transaction = await people.sign(key, { ...settings, settings: { giveUpMs: 4_000 } });
  cloud.settings = {
    statement: { transaction, credential },
    assignment: await people.sign(cloud.admin, held),
    machine: cloud.registration,
  };
  const agent = run(args);
  await cloud.until(() => cloud.settingsReports.length > 0);
  expect(cloud.settingsReports).toMatchObject([{ outcome: 'applied', number: 7 }]);
  await cloud.print();
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed'));
  expect(agent.logged.filter((line) => line.includes('starts again with new settings'))).toHaveLength(1);
  expect((await loadMachineConfig(folder ?? '')).agent.giveUpMs).toBe(4_000);
  agent.child.kill('SIGTERM');
  expect(await agent.exit).toBe(0);
  expect(agent.said.length).toBe(1);
});

test('it is ready without a connection, and exits when its supervisor exits', async () => {
  const { args } = await setUp();
  const agent = run([...args.slice(0, 3), '127.0.0.1:1'], true);
  await agent.ready();
  agent.child.disconnect();
  expect(await agent.exit).toBe(0);
});

test('killed during a print, it reports the print as failed at its next start', async () => {
  const { args, cloud } = await setUp({ meddling: { frame: (frame, segment) => (segment < 7 ? [frame] : []) } });
  const first = run(args);
  await first.ready();
  await cloud.print();
  await cloud.until(() => cloud.telemetry.some(({ acked }) => acked === 7));
  first.child.kill('SIGKILL');
  await first.exit;
  const second = run(args);
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'failed'));
  expect(cloud.reports.at(-1)?.facts).toMatchObject({ code: 'E_MACHINE' });
  const failed = cloud.reports.at(-1);
  // The run record is sealed while a run lasts. The next start needs nothing of the design from disk to report.
  if (failed !== undefined) expect(await cloud.openReport(failed)).toMatchObject({ bytes: expect.any(Number) });
  expect(cloud.reports.filter(({ event }) => event === 'started').length).toBe(1);
  second.child.kill('SIGTERM');
  expect(await second.exit).toBe(0);
});

test('wrong arguments and an invalid folder: a code, one line of log, and no stack trace', async () => {
  for (const args of [
    [],
    ['--folder', '/nowhere'],
    ['--folder', '/nowhere', '--distribution', 'here:1'],
    ['--speed', '3'],
  ]) {
    const agent = run(args);
    expect(await agent.exit).toBe(2);
    expect(agent.said).toEqual([]);
    expect(agent.logged.length).toBe(1);
    expect(JSON.parse(agent.logged[0] ?? '')).toMatchObject({ level: 'fatal', err: { code: 'E_CONFIG' } });
    expect(agent.logged[0]).not.toContain('.js:');
  }
});
