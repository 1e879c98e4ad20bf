import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadMachineConfig } from '@millrace/machine/parts';
import { cli, temporaryFolder } from '@millrace/testkit/cli/helpers';
import { beforeAll, describe, expect, it } from 'vitest';
import { openInstallation } from '../src/installation/open.ts';

describe('millrace machine add', () => {
  let home: string;
  beforeAll(async () => {
    home = join(await temporaryFolder(), 'home');
    expect((await cli(['init', '--home', home])).exit).toBe(0);
  });
  const add = (...argv: string[]) => cli(['machine', 'add', ...argv, '--home', home, '--json']);

  it('sets up a folder from which the agent can start, and lists the machine', async () => {
    const { exit, stdout } = await add('mk3', '--kind', 'marlin', '--serial', 'CZPX1', '--port', '/dev/ttyACM0');
    expect(exit).toBe(0);
    const made = JSON.parse(stdout) as { folder: string; machine: string };
    expect(made).toMatchObject({ name: 'mk3', kind: 'marlin', serial: 'CZPX1', material: 'PLA' });
    const { description, directory, layout } = await openInstallation(home);
    const config = await loadMachineConfig(layout.machine('mk3'));
    expect(config).toMatchObject({
      kind: 'marlin',
      serial: 'CZPX1',
      profile: { factor: 1 },
      driver: { port: '/dev/ttyACM0' },
    });
    expect(config.directory).toEqual(directory);
    expect(description.machines.map(({ name }) => name)).toEqual(['virtual-1', 'mk3']);
    expect(description.machines[1]?.registration.machine).toBe(made.machine);
    // The key of the machine is in its folder only.
    expect((await readFile(join(made.folder, 'identity.key'))).length).toBe(32);
  });

  it('takes settings of every kind of controller', async () => {
    expect((await add('mill', '--kind', 'grbl', '--serial', 'M-7', '--baud', '115200', '--material', 'oak')).exit).toBe(
      0,
    );
    expect((await add('v2', '--kind', 'moonraker', '--serial', '2B00', '--url', 'http://[::1]:7125')).exit).toBe(0);
    const key = join(home, 'key');
    expect(
      (await add('old', '--kind', 'octoprint', '--serial', 'x-1', '--api-key-file', key, '--trust-serial')).exit,
    ).toBe(0);
    // The agent runs in another folder: it gets the whole path.
    expect((await add('old2', '--kind', 'octoprint', '--serial', 'x-2', '--api-key-file', 'key')).exit).toBe(0);
    const { layout } = await openInstallation(home);
    expect((await loadMachineConfig(layout.machine('old2'))).driver).toEqual({ apiKeyFile: join(tmpdir(), 'key') });
    expect((await loadMachineConfig(layout.machine('old'))).driver).toEqual({ apiKeyFile: key, trustSerial: true });
    expect((await loadMachineConfig(layout.machine('mill'))).driver).toEqual({ baud: 115_200 });
  });

  it('sets and removes a safety policy', async () => {
    const file = join(home, 'policy.json');
    const policy = { version: 1, volume: { x: [0, 250], y: [0, 210], z: [0, 200] }, feed: { x: 9e3, y: 9e3, z: 720 } };
    await writeFile(file, JSON.stringify(policy));
    const safety = (...argv: string[]) => cli(['machine', 'safety', ...argv, '--home', home, '--json']);
    const folder = (await openInstallation(home)).layout.machine('mk3');
    expect((await safety('mk3', '--file', file)).exit).toBe(0);
    expect((await loadMachineConfig(folder)).safety).toMatchObject({ ...policy, temperatures: { hotend: 0 } });
    // A policy with an error is no policy: neither the command nor the agent goes on.
    await writeFile(file, JSON.stringify({ ...policy, volume: { ...policy.volume, x: [250, 0] } }));
    expect((await safety('mk3', '--file', file)).stdout).toContain('E_INPUT');
    await writeFile(join(folder, 'safety.json'), '{}');
    await expect(loadMachineConfig(folder)).rejects.toMatchObject({ code: 'E_CONFIG' });
    expect((await safety('mk3')).exit).toBe(0);
    expect((await loadMachineConfig(folder)).safety).toBeUndefined();
    expect((await safety('mk4')).stdout).toContain('E_NOT_FOUND');
    // A machine at another place is named by its folder. Its agent does not run.
    const stop = await cli(['machine', 'stop', folder, '--cause', 'smoke', '--json']);
    expect(stop.stdout).toContain('E_UNAVAILABLE');
  });

  it.each([
    [['virtual-1', '--kind', 'marlin', '--serial', 'A1'], 'E_CONFLICT'],
    [['again', '--kind', 'marlin', '--serial', 'CZPX1'], 'E_CONFLICT'],
    [['press', '--kind', 'press', '--serial', 'A1'], 'E_NOT_FOUND'],
    [['a', '--kind', 'marlin', '--serial', 'A1', '--url', 'http://x'], 'E_INPUT'],
    [['a', '--kind', 'octoprint', '--serial', 'A1', '--url', 'ftp://x'], 'E_INPUT'],
    [['a', '--kind', 'marlin', '--serial', 'A1', '--baud', 'fast'], 'E_INPUT'],
    [['../a', '--kind', 'marlin', '--serial', 'A1'], 'E_INPUT'],
  ])('refuses %j', async (argv, code) => {
    const { exit, stdout } = await add(...argv);
    expect(exit).not.toBe(0);
    expect(stdout).toContain(code);
    const { description } = await openInstallation(home);
    expect(description.machines.some(({ name }) => name === argv[0] && name !== 'virtual-1')).toBe(false);
  });
});
