import { existsSync } from 'node:fs';
import { cp, link, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock, systemRandom, toHex } from '@millrace/base';
import { keepKeys, loadNodeConfig } from '@millrace/cloud/parts';
import { expiryOf, fingerprint, isIssuedBy, isTlsPair, p256Key } from '@millrace/identity';
import { ed25519NoteSigner, formatVerifierKey } from '@millrace/ledger';
import { loadMachineConfig } from '@millrace/machine/parts';
import { fingerprintsOf, identitiesOf, verifyPermitKey } from '@millrace/protocol';
import { cli, codeOf, temporaryFolder, testInstallation } from '@millrace/testkit/cli/helpers';
import { plainUsers } from '@millrace/testkit/test-installation';
import { beforeEach, describe, expect, it } from 'vitest';
import { initInstallation } from '../src/installation/init.ts';
import { nodeFiles, nodeRoles } from '../src/installation/layout.ts';
import { type Installation, openInstallation, openUser } from '../src/installation/open.ts';
import { finishRotation } from '../src/rotation/finish.ts';
import { type Rotatable, rotatable } from '../src/rotation/names.ts';
import { allPlaces, certificateOf } from '../src/rotation/places.ts';
import { noProcesses, type Processes } from '../src/rotation/processes.ts';
import { rotate } from '../src/rotation/rotate.ts';
import { renewDue } from '../src/rotation/upkeep.ts';

const DAY = 86_400_000;
const kinds = Object.keys(rotatable) as Rotatable[];
const everywhere = { clock: systemClock, random: systemRandom };

let installation: Installation;
beforeEach(async () => {
  installation = await testInstallation();
});
const options = (processes: Processes = noProcesses) => ({ installation, processes, ...everywhere });

/** Checks that the directory accepts every key in its folder, and that all parties have the same directory. */
async function expectSound(): Promise<void> {
  const { layout, directory, description } = await openInstallation(installation.layout.home);
  for (const role of nodeRoles) {
    const config = await loadNodeConfig(layout.node(role));
    expect({ ...config.directory }).toEqual({ ...directory });
    expect(isTlsPair(config.tls)).toBe(true);
    expect(fingerprintsOf(directory, role)).toContain(fingerprint(config.tls.certificate));
    expect(identitiesOf(directory, role)).toContain(toHex(config.identity.publicKey));
  }
  const control = await loadNodeConfig(layout.node('control'));
  expect(toHex(p256Key(await control.secret('permitKey')).publicKey)).toBe(directory.permitKey);
  const document = await readFile(join(layout.node('control'), nodeFiles.permitKeyDocument));
  expect(toHex(await verifyPermitKey(new Uint8Array(document), directory))).toBe(directory.permitKey);
  const name = `millrace/${directory.installation}`;
  const logKey = ed25519NoteSigner(name, await control.secret('logKey')).publicKey;
  expect(formatVerifierKey(name, logKey)).toBe(directory.logKey);
  expect({ ...(await loadMachineConfig(layout.machine('virtual-1'))).directory }).toEqual({ ...directory });
  const authority = await readFile(layout.authority.certificate, 'utf8');
  for (const place of allPlaces({ layout, description })) {
    const [certificate, key] = [
      await readFile(certificateOf(place), 'utf8'),
      await readFile(join(place.folder, 'tls.key.pem')),
    ];
    expect(isTlsPair({ certificate, key: new Uint8Array(key) })).toBe(true);
    expect(isIssuedBy(certificate, authority)).toBe(true);
  }
  const left = (await readdir(layout.home, { recursive: true })).filter((file) => file.endsWith('.next'));
  expect(left).toEqual([]);
}

describe('a rotation', () => {
  it.each(kinds)('of %s installs a new key, and the directory accepts both', async (what) => {
    const before = { ...installation.directory };
    await rotate(what, options());
    await expectSound();
    const after = installation.directory;
    expect(installation.directories.sequence).toBe(2);
    switch (what) {
      case 'tls':
      case 'identity':
        for (const role of nodeRoles) {
          const list = what === 'tls' ? fingerprintsOf : identitiesOf;
          expect(list(after, role).slice(1)).toEqual(list(before, role));
        }
        return;
      case 'permit':
        return expect(after.former?.permitKeys.map(({ key }) => key)).toEqual([before.permitKey]);
      case 'log':
        expect(existsSync(join(installation.layout.node('control'), nodeFiles.formerLogKey))).toBe(true);
        return expect(after.former?.logKeys.map(({ key }) => key)).toEqual([before.logKey]);
      case 'authority':
        expect(after.authority).not.toBe(before.authority);
        expect(after.authority).toContain(before.authority.trim());
    }
  });

  it.each(kinds)('of %s without overlap ends the former key', async (what) => {
    const before = { ...installation.directory };
    await rotate(what, { ...options(), overlapDays: 0 });
    await expectSound();
    await installation.directories.refresh();
    const { directory } = installation;
    if (what === 'tls') expect(fingerprintsOf(directory, 'keys')).toHaveLength(1);
    if (what === 'identity') expect(identitiesOf(directory, 'keys')).toHaveLength(1);
    if (what === 'authority') expect(directory.authority).not.toContain(before.authority.trim());
    if (what === 'log')
      expect(existsSync(join(installation.layout.node('control'), nodeFiles.formerLogKey))).toBe(false);
  });

  it('overwrites the replaced key', async () => {
    const path = join(installation.layout.node('control'), nodeFiles.permitKey);
    const before = await readFile(path);
    const same = join(installation.layout.home, 'the same file');
    await link(path, same);
    await rotate('permit', options());
    expect(await readFile(path)).not.toEqual(before);
    expect(await readFile(same)).toEqual(Buffer.alloc(32));
  });

  it('restarts the nodes with replaced keys, one by one, after all have the directory', async () => {
    const seen: string[] = [];
    const processes: Processes = {
      running: async () => ['control', 'keys'],
      restart: async (name) => {
        const { sequence } = JSON.parse(
          await readFile(join(installation.layout.node('segments'), 'directory.json'), 'utf8'),
        ).directory;
        seen.push(`${name} ${sequence}`);
      },
    };
    // As a running process does: it loads what is in its folder.
    const takers = ['control', 'keys'] as const;
    const timer = setInterval(() => {
      for (const role of takers) void loadNodeConfig(installation.layout.node(role)).catch(() => undefined);
    }, 50);
    try {
      expect(await rotate('tls', options(processes))).toEqual(['control', 'keys']);
    } finally {
      clearInterval(timer);
    }
    expect(seen).toEqual(['control 2', 'keys 2']);
    await expectSound();
  });

  it('needs the administrator’s key, and the authority’s key for certificates', async () => {
    const { layout } = installation;
    const key = await readFile(layout.authority.key);
    await rm(layout.authority.key);
    expect(await codeOf(rotate('tls', options()))).toBe('E_CONFIG');
    await writeFile(layout.authority.key, key);
    await rm(join(layout.user('admin'), 'user.key'));
    expect(await codeOf(rotate('permit', options()))).toBe('E_CONFIG');
    expect(installation.directories.sequence).toBe(1);
  });

  it('skips parties whose folder is elsewhere', async () => {
    const { layout } = installation;
    await rm(layout.user('owner'), { recursive: true });
    await rotate('authority', options());
    expect(existsSync(layout.user('owner'))).toBe(false);
    const { exit, stdout } = await cli(['key', 'list', '--home', layout.home, '--json']);
    expect(exit).toBe(0);
    const owners = JSON.parse(stdout).keys.filter(({ of }: { of: string }) => of === 'owner');
    expect(owners).toMatchObject([{ kind: 'key', use: 'user' }]);
  });

  it('runs one at a time', async () => {
    await mkdir(installation.layout.run.folder, { recursive: true });
    await writeFile(join(installation.layout.run.folder, 'rotation.lock'), `${process.ppid}\n`);
    expect(await codeOf(rotate('permit', options()))).toBe('E_CONFLICT');
  });
});

describe('an interrupted rotation', () => {
  const broken = new Error('cut short');

  it.each(kinds)('of %s is rolled back before it is published', async (what) => {
    // The administrator's key is needed after everything is staged.
    const path = join(installation.layout.user('admin'), 'user.key');
    const key = await readFile(path);
    await rm(path);
    expect(await codeOf(rotate(what, options()))).toBe('E_CONFIG');
    await writeFile(path, key);
    await finishRotation(options());
    await expectSound();
    expect(installation.directories.sequence).toBe(1);
  });

  it.each(kinds.flatMap((what) => [0, 2].map((step) => [what, step] as const)))(
    'of %s is completed after it is published, interrupted at step %i',
    async (what, step) => {
      let left = step;
      const processes: Processes = {
        running: async () => {
          if (installation.directories.sequence > 1 && left-- <= 0) throw broken;
          return [];
        },
        restart: async () => undefined,
      };
      await expect(
        rotate(what, options(processes)).then(() => {
          throw broken; // fewer steps than that
        }),
      ).rejects.toBe(broken);
      await finishRotation(options());
      await expectSound();
      expect(installation.directories.sequence).toBe(2);
    },
  );
});

/** Publishes, and installs nothing. */
async function cutAfterPublishing(what: Rotatable): Promise<void> {
  const cut = new Error('cut short');
  const running = async () => {
    if (installation.directories.sequence > 1) throw cut;
    return [];
  };
  await expect(rotate(what, options({ running, restart: async () => undefined }))).rejects.toBe(cut);
}

describe('a rotation interrupted between two files', () => {
  it('installs the certificate of the key', async () => {
    await cutAfterPublishing('tls');
    const key = join(installation.layout.node('keys'), nodeFiles.tlsKey);
    await rename(`${key}.next`, key);
    await finishRotation(options());
    await expectSound();
  });

  it('installs the certificate of the authority’s key', async () => {
    await cutAfterPublishing('authority');
    const { key } = installation.layout.authority;
    await rename(`${key}.next`, key);
    await finishRotation(options());
    await expectSound();
    await rotate('tls', options());
    await expectSound();
  });

  it('installs the administrator’s document for the permit key', async () => {
    await cutAfterPublishing('permit');
    const key = join(installation.layout.node('control'), nodeFiles.permitKey);
    await rename(`${key}.next`, key);
    await finishRotation(options());
    await expectSound();
  });

  it('keeps the former log key', async () => {
    await cutAfterPublishing('log');
    const folder = installation.layout.node('control');
    const former = await readFile(join(folder, nodeFiles.logKey));
    await writeFile(join(folder, nodeFiles.formerLogKey), former);
    await finishRotation(options());
    await expectSound();
    expect(await readFile(join(folder, nodeFiles.formerLogKey))).toEqual(former);
  });
});

describe('expiring certificates', () => {
  /** An installation made the given number of days ago. */
  async function agedBy(days: number): Promise<Installation> {
    const home = join(await temporaryFolder(), 'home');
    const clock = { ...systemClock, now: () => systemClock.now() - days * DAY };
    await initInstallation({ home, users: plainUsers, clock, random: systemRandom });
    return openInstallation(home);
  }
  const expiries = async (of: Installation) =>
    Promise.all(allPlaces(of).map(async (place) => expiryOf(await readFile(certificateOf(place), 'utf8'))));

  it('are renewed 30 days ahead, all that are due and none before', async () => {
    installation = await agedBy(334);
    expect(await renewDue(options())).toBeUndefined();
    installation = await agedBy(336);
    expect(await renewDue(options())).toContain('control');
    const now = systemClock.now();
    for (const expires of await expiries(installation)) expect(expires - now).toBeGreaterThan(364 * DAY);
    await expectSound();
    expect(await renewDue(options())).toBeUndefined();
  });

  it('are renewed together with the authority when that expires', async () => {
    installation = await agedBy(3_640);
    const before = await readFile(installation.layout.authority.certificate, 'utf8');
    expect(await renewDue(options())).toContain('authority');
    expect(await readFile(installation.layout.authority.certificate, 'utf8')).not.toBe(before);
    await expectSound();
  });

  it('do not outlive the authority', async () => {
    installation = await agedBy(3_500);
    await renewDue(options());
    const end = expiryOf(await readFile(installation.layout.authority.certificate, 'utf8'));
    for (const expires of await expiries(installation)) expect(expires).toBeLessThanOrEqual(end);
  });

  it('are reported when the authority’s key is missing', async () => {
    installation = await agedBy(336);
    await rm(installation.layout.authority.key);
    await expect(renewDue(options())).rejects.toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringContaining('renew'),
    });
  });

  it('are shown by status, 30 days ahead, with what to do', async () => {
    const { home } = (await agedBy(336)).layout;
    const shown = await cli(['status', '--home', home]);
    expect(shown.stdout).toContain('control: tls certificate expires on');
    expect(shown.stdout).toContain('millrace renew');
    const { expiring } = JSON.parse((await cli(['status', '--home', home, '--json'])).stdout);
    expect(expiring).toHaveLength(allPlaces(installation).length);
    expect(expiring[0]).toMatchObject({ kind: 'certificate', use: 'tls', of: 'control', former: false });

    expect((await cli(['renew', '--home', home])).stdout).toContain('Renewed: control');
    expect(JSON.parse((await cli(['status', '--home', home, '--json'])).stdout).expiring).toEqual([]);
  });

  it('are shown together with keys that are two years old', async () => {
    const { home } = (await agedBy(701)).layout;
    const { expiring } = JSON.parse((await cli(['status', '--home', home, '--json'])).stdout);
    const uses = new Set(expiring.map(({ use }: { use: string }) => use));
    expect(uses).toEqual(new Set(['tls', 'identity', 'permit', 'log']));
    expect((await cli(['status', '--home', home])).stdout).toContain('millrace key rotate identity --node keys');
  });
});

describe('a backup from before a rotation', () => {
  it('restored: the nodes keep their current keys', async () => {
    const { layout } = installation;
    const nodes = join(layout.home, 'nodes');
    const restored = join(await temporaryFolder(), 'nodes');
    await cp(nodes, restored, { recursive: true });
    const kek = await readFile(join(restored, 'keys', nodeFiles.kek));
    await writeFile(join(nodes, 'keys', nodeFiles.kek), systemRandom(32));
    for (const what of kinds) await rotate(what, options());
    expect(await keepKeys(nodes, restored)).toEqual([]);
    await rm(nodes, { recursive: true });
    await cp(restored, nodes, { recursive: true });
    await expectSound();
    // The data in a backup is wrapped by the backup's key.
    expect(await readFile(join(nodes, 'keys', nodeFiles.kek))).toEqual(kek);
  });

  it('restored after the loss of a node: the node is named, and a new rotation repairs it', async () => {
    const { layout } = installation;
    const nodes = join(layout.home, 'nodes');
    const restored = join(await temporaryFolder(), 'nodes');
    await cp(nodes, restored, { recursive: true });
    for (const what of kinds) await rotate(what, { ...options(), overlapDays: 0 });
    await rm(join(nodes, 'control'), { recursive: true });
    expect(await keepKeys(nodes, restored)).toEqual(['control']);
    await rm(nodes, { recursive: true });
    await cp(restored, nodes, { recursive: true });
    await finishRotation(options());
    await expect(expectSound()).rejects.toThrow();
    for (const what of ['tls', 'identity', 'permit', 'log'] as const) await rotate(what, options());
    await expectSound();
  });
});

describe('commands', () => {
  it('list, rotate and renew keys', async () => {
    const { home } = installation.layout;
    const listed = await cli(['key', 'list', '--home', home, '--json']);
    const { keys } = JSON.parse(listed.stdout);
    // Two authorities: of the installation, and of its users.
    expect(keys).toHaveLength(2 + allPlaces(installation).length + nodeRoles.length + 2 + 3 + 1);
    expect((await cli(['key', 'rotate', 'tls', '--node', 'keys', '--home', home])).exit).toBe(0);
    await expectSound();
    const again = JSON.parse((await cli(['key', 'list', '--home', home, '--json'])).stdout);
    expect(again.directory).toBe(2);
    expect(again.keys.filter(({ former }: { former: boolean }) => former)).toMatchObject([{ use: 'tls', of: 'keys' }]);
    expect((await cli(['renew', '--all', '--home', home])).stdout).toContain('operator');
    await expectSound();
    const operator = await openUser(await openInstallation(home), 'operator');
    expect(isTlsPair(operator.tls)).toBe(true);
    operator.close();
  });

  it.each([
    [['key', 'rotate', 'kek']],
    [['key', 'rotate', 'tls', '--node', 'mill']],
    [['key', 'rotate', 'permit', '--node', 'keys']],
    [['key', 'rotate', 'permit', '--overlap', '-1']],
  ])('reject %j', async (argv) => {
    expect((await cli([...argv, '--home', installation.layout.home])).exit).toBe(2);
  });
});
