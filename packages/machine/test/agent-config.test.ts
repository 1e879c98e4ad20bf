import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemRandom } from '@millrace/base';
import { TestCloud } from '@millrace/testkit/machine/agent-cloud';
import { storeDesign } from '@millrace/testkit/machine/agent-design';
import { settingsOf, writeFolder } from '@millrace/testkit/machine/agent-harness';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadMachineConfig } from '../src/agent/config.ts';
import { builtInDrivers } from '../src/drivers/index.ts';

let cloud: TestCloud;
let folder: string;
beforeAll(async () => {
  cloud = await TestCloud.start({
    design: storeDesign(systemRandom(10)),
    machine: { serial: 'MR-1', kind: 'sink', profile: { factor: 2, bytesPerSecond: 1_000 } },
  });
  folder = await writeFolder(cloud, settingsOf(cloud));
});
afterAll(async () => {
  await cloud.close();
  await rm(folder, { recursive: true, force: true });
});

test('reads a machine’s folder and applies defaults', async () => {
  const { driver: _, agent, ...settings } = settingsOf(cloud);
  const { stallMs: _stall, giveUpMs: _give, ...needed } = agent;
  await writeFile(join(folder, 'machine.json'), JSON.stringify({ ...settings, agent: needed }));
  const config = await loadMachineConfig(folder);
  expect(config).toMatchObject({ serial: 'MR-1', kind: 'sink', driver: {}, data: join(folder, 'data') });
  expect(config.agent).toMatchObject({ stallMs: 5_000, giveUpMs: 600_000 });
  expect(config.machineKey.publicKey).toEqual(cloud.machineKey.publicKey);
});

const wrong: readonly (readonly [string, string, object])[] = [
  ['an unknown field', 'machine.json', { colour: 'red' }],
  ['another role', 'role', { role: 'control' }],
  ['a serial number that is none', 'serial', { serial: '' }],
  ['an unknown kind', 'kind', { kind: 'press' }],
  ['a profile that stands still', 'profile.factor', { profile: { factor: 0 } }],
  ['an order that no table has', 'agent.order', { agent: { order: 32, suite: 'keccak256', hints: 'dense' } }],
  [
    'an engine that there is not',
    'agent.engine',
    { agent: { order: 16, suite: 'keccak256', hints: 'dense', engine: 'abacus' } },
  ],
  ['an installation of no name', 'installation', { installation: '' }],
];
test.each(wrong)('%s is rejected by name', async (_, name, change) => {
  await writeFile(join(folder, 'machine.json'), JSON.stringify({ ...settingsOf(cloud), ...change }));
  await expect(loadMachineConfig(folder)).rejects.toMatchObject({
    code: 'E_CONFIG',
    message: expect.stringContaining(name),
  });
});

test('loads a driver of another package from the module that the settings name', async () => {
  const module = `export const driver = {
    kind: 'press',
    capabilities: { formats: ['steps'], heaters: [], position: false, lines: false, layers: false, filament: false },
    settings: { safeParse: (data) => ({ success: true, data }) },
    settingsFor: () => ({}),
    load: async () => ({ create: () => undefined }),
  };`;
  await writeFile(join(folder, 'press.mjs'), module);
  const settings = { ...settingsOf(cloud), kind: 'press', driverModules: ['./press.mjs'] };
  await writeFile(join(folder, 'machine.json'), JSON.stringify(settings));
  const { kind, drivers } = await loadMachineConfig(folder);
  expect([kind, drivers.kinds]).toEqual(['press', ['press', ...builtInDrivers().kinds].sort()]);
  await writeFile(join(folder, 'machine.json'), JSON.stringify({ ...settings, driverModules: ['./mill.mjs'] }));
  await expect(loadMachineConfig(folder)).rejects.toMatchObject({
    code: 'E_CONFIG',
    message: expect.stringContaining('./mill.mjs'),
  });
});

test('names settings that are not JSON, and files that are missing or invalid', async () => {
  await writeFile(join(folder, 'machine.json'), 'factor = 3');
  await expect(loadMachineConfig(folder)).rejects.toMatchObject({
    code: 'E_CONFIG',
    message: expect.stringContaining('not JSON'),
  });
  await writeFile(join(folder, 'machine.json'), JSON.stringify(settingsOf(cloud)));
  for (const name of ['tls.crt.pem', 'tls.key.pem', 'identity.key', 'machine.json', 'directory.json']) {
    const path = join(folder, name);
    const saved = await readFile(path);
    await rm(path);
    await expect(loadMachineConfig(folder)).rejects.toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringContaining(path),
    });
    await writeFile(path, saved);
  }
  for (const bad of [new Uint8Array(31), new Uint8Array(32)]) {
    await writeFile(join(folder, 'identity.key'), bad);
    await expect(loadMachineConfig(folder)).rejects.toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringContaining('identity.key'),
    });
  }
});
