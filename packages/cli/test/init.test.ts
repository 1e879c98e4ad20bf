import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fromHex, systemClock, systemRandom, toHex } from '@millrace/base';
import { findUser } from '@millrace/client';
import { loadNodeConfig } from '@millrace/cloud/parts';
import { fingerprint, keyName, p256Key, userKey } from '@millrace/identity';
import { ed25519NoteSigner, formatVerifierKey } from '@millrace/ledger';
import { loadMachineConfig } from '@millrace/machine/parts';
import { nodeOf } from '@millrace/protocol';
import { codeOf, temporaryFolder, testInstallation } from '@millrace/testkit/cli/helpers';
import { beforeAll, describe, expect, it } from 'vitest';
import { machineFromJson } from '../src/installation/description.ts';
import { initInstallation } from '../src/installation/init.ts';
import { nodeRoles } from '../src/installation/layout.ts';
import { type Installation, openInstallation, openUser } from '../src/installation/open.ts';

const options = { clock: systemClock, random: systemRandom };
let installation: Installation;
beforeAll(async () => {
  installation = await testInstallation();
});

function registrationOf(name: string) {
  const entry = installation.description.machines.find((machine) => machine.name === name);
  if (entry === undefined) throw new Error(`there is no machine ${name}`);
  return entry.registration;
}

async function filesUnder(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

describe('an installation', () => {
  it('has folders from which the nodes can start, with keys that match the directory', async () => {
    const { directory, layout } = installation;
    for (const role of nodeRoles) {
      const config = await loadNodeConfig(layout.node(role));
      expect(config.role).toBe(role);
      expect(config.directory).toEqual(directory);
      expect(toHex(config.identity.publicKey)).toBe(nodeOf(directory, role).identity);
      expect(fingerprint(config.tls.certificate)).toBe(nodeOf(directory, role).fingerprint);
    }
    const control = await loadNodeConfig(layout.node('control'));
    expect(toHex(p256Key(await control.secret('permitKey')).publicKey)).toBe(directory.permitKey);
    const name = directory.logKey.slice(0, directory.logKey.indexOf('+'));
    const signer = ed25519NoteSigner(name, await control.secret('logKey'));
    expect(formatVerifierKey(name, signer.publicKey)).toBe(directory.logKey);
    const keys = await loadNodeConfig(layout.node('keys'));
    expect(await keys.secret('kek')).toHaveLength(32);
    await expect(control.secret('kek')).rejects.toMatchObject({ code: 'E_CONFIG' });
  });

  it('has a machine whose agent can start, with its registration', async () => {
    const config = await loadMachineConfig(installation.layout.machine('virtual-1'));
    const machine = machineFromJson(registrationOf('virtual-1'));
    expect(config).toMatchObject({
      kind: 'virtual',
      serial: machine.serial,
      profile: machine.profile,
      material: 'PLA',
    });
    expect(config.agent).toMatchObject({ order: 'auto', suite: 'auto', hints: 'dense' });
    expect(keyName(config.machineKey.publicKey)).toBe(machine.machine);
    expect(config.directory).toEqual(installation.directory);
  });

  it('has users with their keys; the administrator’s key is in the directory', async () => {
    for (const name of ['admin', 'owner', 'operator']) {
      const user = await openUser(installation, name);
      expect(toHex(user.signer.publicKey)).toBe(findUser(installation.description, name).publicKey);
      user.close();
      expect(user.tls.key.every((byte) => byte === 0)).toBe(true);
    }
    expect(findUser(installation.description, 'admin').publicKey).toBe(installation.directory.adminKey);
    expect(() => findUser(installation.description, 'nobody')).toThrow(
      expect.objectContaining({ code: 'E_NOT_FOUND' }),
    );
  });

  it('keeps secrets readable by the owner only, and no secret in a public file', async () => {
    const files = await filesUnder(installation.layout.home);
    const secrets = files.filter((file) => /\.key(\.pem)?$/.test(file));
    expect(secrets.length).toBe(4 * 2 + 4 + 3 * 2 + 2 + 1);
    for (const file of secrets) expect(((await stat(file)).mode & 0o777).toString(8)).toBe('600');
    for (const file of files) expect(((await stat(dirname(file))).mode & 0o777).toString(8)).toBe('700');
    const open = await Promise.all(
      files.filter((file) => !secrets.includes(file)).map((file) => readFile(file, 'utf8')),
    );
    for (const secret of await Promise.all(secrets.map((file) => readFile(file)))) {
      for (const text of open) expect(text).not.toContain(secret.toString('hex'));
    }
    expect(open.join('')).not.toContain('PRIVATE KEY');
  });

  it('has fresh keys each time', async () => {
    const other = await testInstallation();
    expect(other.directory.installation).not.toBe(installation.directory.installation);
    expect(other.directory.permitKey).not.toBe(installation.directory.permitKey);
    expect(other.directory.logKey).not.toBe(installation.directory.logKey);
  });
});

describe('init', () => {
  it('does not overwrite an installation, other files, or a file', async () => {
    const before = await readFile(installation.layout.directory, 'utf8');
    expect(await codeOf(initInstallation({ home: installation.layout.home, ...options }))).toBe('E_CONFLICT');
    expect(await readFile(installation.layout.directory, 'utf8')).toBe(before);
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'mine.txt'), 'mine');
    expect(await codeOf(initInstallation({ home: folder, ...options }))).toBe('E_CONFLICT');
    expect(await codeOf(initInstallation({ home: join(folder, 'mine.txt'), ...options }))).toBe('E_CONFLICT');
    expect(await readdir(folder)).toEqual(['mine.txt']);
  });

  it('fills an empty folder, and creates its parent folders', async () => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, 'empty'));
    await initInstallation({ home: join(folder, 'empty'), ...options });
    await initInstallation({ home: join(folder, 'a', 'b'), ...options });
    expect((await openInstallation(join(folder, 'empty'))).directory.name).toBe('Millrace');
    expect((await openInstallation(join(folder, 'a', 'b'))).directory.name).toBe('Millrace');
  });

  it('leaves nothing behind when it fails midway', async () => {
    const folder = await temporaryFolder();
    let calls = 0;
    const random = (length: number) => {
      calls += 1;
      if (calls > 3) throw new Error('no randomness');
      return systemRandom(length);
    };
    await expect(initInstallation({ home: join(folder, 'home'), clock: systemClock, random })).rejects.toThrow(
      'no randomness',
    );
    expect(await readdir(folder)).toEqual([]);
  });

  it('succeeds exactly once when run twice concurrently', async () => {
    const home = join(await temporaryFolder(), 'home');
    const codes = await Promise.all([1, 2].map(() => codeOf(initInstallation({ home, ...options }))));
    expect(codes.sort()).toEqual(['E_CONFLICT', 'no error']);
    expect(await readdir(dirname(home))).toEqual([basename(home)]);
    await openInstallation(home);
  });
});

describe('opening an installation', () => {
  it('names the invalid file', async () => {
    const other = await testInstallation();
    await writeFile(other.layout.directory, '{"version":1}');
    await expect(openInstallation(other.layout.home)).rejects.toMatchObject({
      code: 'E_DIRECTORY',
      message: expect.stringMatching(/directory/),
    });
    await writeFile(other.layout.directory, 'not json');
    await expect(openInstallation(other.layout.home)).rejects.toMatchObject({
      message: expect.stringMatching(/directory\.json is not JSON/),
    });
    const owner = join(installation.layout.user('owner'), 'user.key');
    const secret = await readFile(owner);
    await writeFile(owner, secret.subarray(1));
    await expect(openUser(installation, 'owner')).rejects.toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringMatching(/user\.key/),
    });
    await writeFile(owner, secret);
  });

  it('rejects a machine whose name does not match its key', () => {
    const registration = registrationOf('virtual-1');
    const forged = { ...registration, machine: keyName(userKey(fromHex('01'.repeat(32))).publicKey) };
    expect(() => machineFromJson(forged)).toThrow(expect.objectContaining({ code: 'E_MACHINE_UNKNOWN' }));
  });
});
