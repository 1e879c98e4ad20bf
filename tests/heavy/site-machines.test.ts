import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { addMachine, MAX_MACHINES } from '@millrace/agent';
import { grantLicence, requestPrint } from '@millrace/client';
import { cli } from '@millrace/testkit/cli/helpers';
import { gcode } from '@millrace/testkit/designs';
import { store, untilEnded } from '@millrace/testkit/job';
import { MemoryWatch } from '@millrace/testkit/memory';
import { Managed } from '@millrace/testkit/process';
import { coresOf } from '@millrace/testkit/process-cpu';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, expect, it, vi } from 'vitest';

// One agent with twenty machines, which print at the same time.

const entry = fileURLToPath(new URL('../../packages/agent/dist/main.js', import.meta.url));
/** For the first machine at order 24, and for each other one at order 16; MB. */
const [FIRST_MB, OTHER_MB] = [230, 60];
/** Of twenty machines that wait for work. The goal is a hundredth for an agent; twenty take about as much. */
const IDLE_CORES = 0.05;

let system: TestInstallation;
let agent: Managed | undefined;
let watch: MemoryWatch | undefined;
afterAll(async () => {
  watch?.close();
  await agent?.kill();
  await system?.close();
});

it('twenty machines make parts at once, each with a queue of its own', { timeout: 1_200_000 }, async () => {
  system = await createTestInstallation({ start: ['control', 'distribution', 'segments', 'keys'] });
  const site = join(system.scratch, 'site');
  const log = join(system.scratch, 'agent.log');
  for (let i = 0; i < MAX_MACHINES; i++) await addMachine(site);
  await expect(addMachine(site)).rejects.toMatchObject({ code: 'E_QUOTA' });
  const { host, port } = system.addresses.control;
  const args = ['--folder', site, '--cloud', `${host}:${port}`, '--page', 'off'];
  // As the service's unit starts it.
  const node = ['--max-semi-space-size=4', '--v8-pool-size=1'];
  const env = { MALLOC_ARENA_MAX: '2', MALLOC_MMAP_THRESHOLD_: '262144', MALLOC_TRIM_THRESHOLD_: '1048576' };
  agent = new Managed({ name: 'agent', entry, args, node, env }, log);
  await agent.start();

  const shown = await vi.waitFor(async () => {
    const codes = [...(await readFile(log, 'utf8')).matchAll(/"machine":"(\d+)","code":"([0-9A-Z-]{19})"/g)];
    expect(codes.length).toBe(MAX_MACHINES);
    return codes.map(([, slot = '', code = '']) => ({ slot, code }));
  }, 120_000);
  const machines: string[] = [];
  for (const { slot, code } of shown) {
    const terms = ['--name', `m${slot}`, '--kind', 'virtual', '--serial', `SITE-${slot}`, '--factor', '60'];
    const { exit, stdout, stderr } = await cli(['machine', 'pair', code, ...terms, '--home', system.home, '--json']);
    expect(exit, stderr).toBe(0);
    machines.push((JSON.parse(stdout) as { machine: string }).machine);
  }
  watch = new MemoryWatch();
  watch.watch('agent', agent.pid);
  const owner = await system.session('owner');
  const operator = await system.session('operator');
  const { design } = await store(system, owner, gcode(200_000));
  await vi.waitFor(async () => {
    const online = (await operator.api.machines()).filter((one) => one.online).map(({ machine }) => machine);
    expect(machines.filter((machine) => !online.includes(machine))).toEqual([]);
  }, 300_000);
  const idle = { ...watch.take().agent, cores: await coresOf(agent.pid, 20_000) };
  const grant = { design, objects: 2 * machines.length, machines, materials: [], days: 1, holder: 'operator' };
  const licence = await grantLicence(owner, grant);
  const prints: string[] = [];
  for (const machine of [...machines, ...machines]) prints.push(await requestPrint(operator, licence, machine));
  const views = await Promise.all(prints.map((print) => untilEnded(operator, print, 600_000)));
  expect(views.map(({ state }) => state)).toEqual(prints.map(() => 'completed'));
  const busy = watch.take().agent;
  process.stdout.write(`${JSON.stringify({ machines: machines.length, idle, busy })}\n`);
  expect(busy?.own).toBeLessThan(FIRST_MB + OTHER_MB * (machines.length - 1));
  expect(idle.cores).toBeLessThan(IDLE_CORES);
  expect(await agent.stop()).toBe(0);
});
