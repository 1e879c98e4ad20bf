import { join } from 'node:path';
import { systemClock, systemRandom } from '@millrace/base';
import { loadNodeConfig } from '@millrace/cloud/parts';
import { loadMachineConfig } from '@millrace/machine/parts';
import { readTransaction } from '@millrace/protocol';
import { cli, temporaryFolder, testInstallation } from '@millrace/testkit/cli/helpers';
import { beforeEach, describe, expect, it } from 'vitest';
import { initInstallation } from '../src/installation/init.ts';
import type { Installation } from '../src/installation/open.ts';
import { openInstallation } from '../src/installation/open.ts';

let here: Installation;
let there: Installation;
beforeEach(async () => {
  here = await testInstallation();
  const home = join(await temporaryFolder(), 'there');
  await initInstallation({ home, name: 'There', clock: systemClock, random: systemRandom });
  there = await openInstallation(home);
});

const cloud = (...argv: string[]) => cli(['cloud', ...argv, '--home', here.layout.home, '--json']);
const recognise = (adminKey: string, ...more: string[]) =>
  cloud('recognise', there.layout.directory, '--admin-key', adminKey, ...more);

describe('millrace cloud', () => {
  it('recognises another cloud in the directory of every node and machine, and withdraws it', async () => {
    const { installation, adminKey } = there.description;
    const { exit, stderr } = await recognise(adminKey, '--distribution', '192.0.2.1:7602');
    expect({ exit, stderr }).toEqual({ exit: 0, stderr: '' });
    const control = (await loadNodeConfig(here.layout.node('control'))).directory;
    const machine = (await loadMachineConfig(here.layout.machine('virtual-1'))).directory;
    for (const { recognised = [] } of [control, machine]) {
      expect(recognised).toMatchObject([
        { installation, adminKey, distribution: { host: '192.0.2.1', port: 7602 }, directory: { name: 'There' } },
      ]);
      const recognition = readTransaction(Buffer.from(recognised[0]?.recognition ?? '', 'hex'));
      expect(recognition).toMatchObject({ type: 'cloud.recognise', cloud: installation });
    }
    const listed = JSON.parse((await cloud('list')).stdout);
    expect(listed).toMatchObject({ own: { adminKey: here.description.adminKey }, clouds: [{ cloud: installation }] });
    // Again: the recognition is renewed, not doubled.
    expect((await recognise(adminKey)).exit).toBe(0);
    expect((await openInstallation(here.layout.home)).directory.recognised).toHaveLength(1);
    expect((await cloud('withdraw', 'There')).exit).toBe(0);
    expect((await loadNodeConfig(here.layout.node('keys'))).directory.recognised).toEqual([]);
  });

  it('refuses a directory that the named administrator has not signed, and its own', async () => {
    expect((await recognise(here.description.adminKey)).stderr).toContain('E_DIRECTORY');
    const own = ['recognise', here.layout.directory, '--admin-key', here.description.adminKey];
    expect((await cloud(...own)).stderr).toContain('E_INPUT');
    expect((await cloud('withdraw', 'nobody')).stderr).toContain('E_NOT_FOUND');
    expect((await recognise(there.description.adminKey, '--distribution', 'nowhere')).stderr).toContain('E_INPUT');
  });
});
