import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MillraceError, systemClock, systemRandom } from '@millrace/base';
import { registerAll } from '@millrace/client';
import { cli, temporaryFolder, testInstallation, until } from '@millrace/testkit/cli/helpers';
import { FakeCloud, fakeDesign } from '@millrace/testkit/client/fake-cloud';
import { ownedDesign } from '@millrace/testkit/client/owned-design';
import type { Command } from 'commander';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Installation, openInstallation } from '../src/installation/open.ts';
import { openSession } from '../src/installation/session.ts';
import { createProgram } from '../src/program.ts';
import { acquireLock } from '../src/supervisor/lock.ts';

const dummy = fileURLToPath(new URL('./fixtures/dummy.mjs', import.meta.url));
const built = fileURLToPath(new URL('../dist/main.js', import.meta.url));

/** Parses exactly one JSON document. */
function oneDocument(stdout: string): Record<string, unknown> {
  return JSON.parse(stdout) as Record<string, unknown>;
}

/** Every executable command, as its words. */
function allCommands(): string[][] {
  const leaves = (command: Command, words: string[]): string[][] =>
    command.commands.length === 0
      ? [words]
      : command.commands.flatMap((child) => leaves(child, [...words, child.name()]));
  const never = { write: () => undefined };
  const program = createProgram(
    {
      stdout: never,
      stderr: never,
      clock: systemClock,
      random: systemRandom,
      cwd: '/',
      env: {},
      entries: { node: '', machine: '' },
      sample: '',
      profile: '',
      signal: new AbortController().signal,
      onSecondInterrupt: () => undefined,
    },
    () => undefined,
  );
  return leaves(program, []);
}

describe('help', () => {
  it('lists every documented command', () => {
    expect(
      allCommands()
        .map((words) => words.join(' '))
        .sort(),
    ).toEqual(
      [
        'alarm clear',
        'alarm list',
        'anchor certificate',
        'anchor deploy',
        'anchor submit',
        'anchor upgrade',
        'anchor verify',
        'backup create',
        'backup destroy',
        'backup restore',
        'certificate export',
        'certificate verify',
        'demo',
        'design add',
        'design delete',
        'design list',
        'design maintenance',
        'design repair',
        'down',
        'init',
        'key list',
        'key rotate',
        'ledger monitor',
        'ledger verify',
        'licence grant',
        'licence list',
        'licence reinstate',
        'licence resume',
        'licence revoke',
        'licence show',
        'licence suspend',
        'login',
        'logs',
        'machine list',
        'object list',
        'object show',
        'org create',
        'org list',
        'org show',
        'peer-key',
        'print',
        'queue cancel',
        'queue clear',
        'queue list',
        'receive',
        'send',
        'recover',
        'renew',
        'status',
        'up',
        'user add-device',
        'user invite',
        'user list',
        'user revoke',
        'vault check',
        'witness',
      ].sort(),
    );
  });

  it.each(allCommands().map((words) => [words.join(' '), words] as const))('of %s', async (name, words) => {
    const { exit, stdout, stderr } = await cli([...words, '--help']);
    expect(exit).toBe(0);
    expect(stdout).toContain(`Usage: millrace ${name}`);
    for (const option of ['--json', '--home', '--user']) expect(stdout).toContain(option);
    expect(stderr).toBe('');
  });

  it('of the program, and its version', async () => {
    expect((await cli(['--help'])).stdout).toContain('licence');
    expect(await cli(['--version'])).toMatchObject({ exit: 0, stdout: '0.1.0\n' });
  });
});

describe('invalid command lines', () => {
  it.each([
    [['nonsense'], 'unknown command'],
    [['status', '--nonsense'], 'unknown option'],
    [['licence', 'grant', '--objects', '2'], 'required option'],
    [['design', 'add'], 'missing required argument'],
    [['licence'], 'no command was given'],
    [['status', 'extra'], 'too many arguments'],
    [['logs', '--lines', '-3'], '--lines'],
  ])('%j: E_INPUT, exit code 2', async (argv, words) => {
    const home = (await testInstallation()).layout.home;
    const { exit, stdout, stderr } = await cli(argv, { env: { MILLRACE_HOME: home } });
    expect(exit).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/error {3}E_INPUT\n {2}what {4}.+\n {2}remedy {2}.+/);
    expect(stderr).toContain(words);
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  it('are also reported in JSON', async () => {
    const { exit, stdout } = await cli(['licence', 'grant', '--json']);
    expect(exit).toBe(2);
    expect(oneDocument(stdout)).toMatchObject({ error: { code: 'E_INPUT', remedy: expect.any(String) } });
  });
});

describe('init and status', () => {
  it('create an installation once, in a folder with a space in its name', async () => {
    const folder = await temporaryFolder();
    const first = await cli(['init', '--json', '--home', 'my home'], { cwd: folder });
    expect(first.exit).toBe(0);
    const home = join(folder, 'my home');
    expect(oneDocument(first.stdout)).toMatchObject({ home, users: ['admin', 'owner', 'operator'] });
    const second = await cli(['init', '--json'], { cwd: folder, env: { MILLRACE_HOME: 'my home' } });
    expect(second.exit).toBe(3);
    expect(oneDocument(second.stdout)).toMatchObject({ error: { code: 'E_CONFLICT' } });
    const status = await cli(['status', '--json', '--home', home]);
    expect(status.exit).toBe(5);
    expect(oneDocument(status.stdout)).toEqual({ home, running: false, expiring: [] });
    expect((await cli(['down', '--home', home])).exit).toBe(4);
  });

  it('say what to do when there is no installation', async () => {
    for (const argv of [['status'], ['up'], ['design', 'list'], ['logs']]) {
      const { exit, stderr } = await cli(argv, { cwd: await temporaryFolder() });
      expect(exit).toBe(2);
      expect(stderr).toContain('E_CONFIG');
      expect(stderr).toContain('`millrace init`');
    }
  });

  it('use .millrace in the working folder by default', async () => {
    const folder = await temporaryFolder();
    expect((await cli(['init'], { cwd: folder })).exit).toBe(0);
    expect(readdirSync(folder)).toEqual(['.millrace']);
  });
});

describe('up', () => {
  it('names the process that already runs the installation', async () => {
    const { layout } = await testInstallation();
    await acquireLock(layout.run.lock, { pid: process.ppid });
    const entries = { node: dummy, machine: dummy };
    const { exit, stdout } = await cli(['up', '--json', '--home', layout.home], { entries });
    expect(exit).toBe(3);
    expect(oneDocument(stdout)).toMatchObject({ error: { code: 'E_CONFLICT', data: { pid: process.ppid } } });
  });

  it('stops what it started when a later part fails, and leaves nothing running', async () => {
    const { layout } = await testInstallation();
    const broken = join(await temporaryFolder(), 'broken.mjs');
    // Works as control and distribution. Segments cannot start.
    const name = JSON.stringify(layout.node('segments'));
    await writeFile(
      broken,
      `if (process.argv.includes(${name})) throw new Error('no such disk');\nawait import(${JSON.stringify(dummy)});\n`,
    );
    const { exit, stderr } = await cli(['up', '--home', layout.home], { entries: { node: broken, machine: dummy } });
    expect(exit).toBe(5);
    expect(stderr).toContain('segments does not start');
    expect(stderr).not.toMatch(/^\s+at /m);
    expect((await cli(['status', '--home', layout.home])).exit).toBe(5);
    expect(readdirSync(layout.run.folder).sort()).toEqual(['logs']);
  });

  it('names a program that was not built', async () => {
    const { layout } = await testInstallation();
    const { exit, stderr } = await cli(['up', '--home', layout.home]);
    expect(exit).toBe(2);
    expect(stderr).toContain('/nowhere is missing');
  });

  it('rejects an invalid port', async () => {
    const { layout } = await testInstallation();
    const entries = { node: dummy, machine: dummy };
    const { exit } = await cli(['up', '--home', layout.home, '--control-port', '99999'], { entries });
    expect(exit).toBe(2);
  });
});

describe('with a control node', () => {
  let installation: Installation;
  let cloud: FakeCloud;
  const millrace = (...argv: string[]) => cli([...argv, '--home', installation.layout.home]);

  beforeEach(async () => {
    installation = await testInstallation();
    cloud = await FakeCloud.start(installation);
    const admin = await openSession({ installation, user: 'admin', clock: systemClock, random: systemRandom });
    await registerAll(admin);
    admin.close();
    const { design, manifest } = await ownedDesign(installation);
    cloud.designs.set(design, fakeDesign(manifest, 'stored'));
  });
  afterEach(() => cloud.close());

  async function grant(objects = '1'): Promise<string> {
    const terms = [
      '--design',
      'part.gcode',
      '--objects',
      objects,
      '--machine',
      'virtual-1',
      '--material',
      'PLA',
      'PETG',
    ];
    const { exit, stdout } = await millrace('licence', 'grant', ...terms, '--json');
    expect(exit).toBe(0);
    return String(oneDocument(stdout).licence);
  }

  it('grants, prints, shows, exports and verifies, each with one JSON document', async () => {
    const licence = await grant('1');
    expect(cloud.licences.get(licence)?.body.materials).toEqual(['PLA', 'PETG']);
    const print = await millrace('print', '--licence', licence.slice(0, 8), '--watch', '--json');
    expect(print.exit).toBe(0);
    const object = String(oneDocument(print.stdout).object);
    expect(oneDocument(print.stdout)).toMatchObject({ state: 'completed', segments: 3 });
    // The machine seals these to the owner. The holder's client receives them but cannot open them.
    for (const field of ['layers', 'lines', 'filamentMm']) expect(oneDocument(print.stdout)).not.toHaveProperty(field);
    const again = await millrace('print', '--licence', licence, '--watch', '--json');
    expect(again.exit).toBe(3);
    expect(oneDocument(again.stdout)).toMatchObject({ error: { code: 'E_LICENCE_EXHAUSTED' } });

    const show = await millrace('object', 'show', object, '--json');
    const events = oneDocument(show.stdout).events as { own?: object }[];
    expect(events.length).toBe(4);
    expect(events.at(-1)?.own).toMatchObject({ line: 9, layer: 2, filament: 5_000 });
    expect(oneDocument(show.stdout).live).toMatchObject({ line: 8 });
    expect((await millrace('object', 'show', object)).stdout).toMatch(/layer 2 line 9 filament 5\.00 m/);
    const others = await millrace('object', 'show', object, '--user', 'operator', '--json');
    expect(others.stdout).not.toMatch(/"(line|layer|filament)"/);
    const file = join(installation.layout.home, 'one.certificate');
    expect((await millrace('certificate', 'export', object, '--out', file)).exit).toBe(0);
    const verified = await millrace('certificate', 'verify', file, '--json');
    expect(oneDocument(verified.stdout)).toMatchObject({ valid: true, object, state: 'completed', signatures: 9 });
    for (const list of ['design', 'licence', 'object', 'machine']) {
      const { exit, stdout } = await millrace(list, 'list', '--json');
      expect(exit).toBe(0);
      expect(oneDocument(stdout)[`${list}s`]).toHaveLength(1);
    }
    const ledger = await millrace('ledger', 'verify', '--json');
    expect(oneDocument(ledger.stdout)).toMatchObject({ ok: true, size: 6, accounts: 3, objects: 1 });
  });

  it('verifies a certificate without an installation, for a given owner or authority', async () => {
    const licence = await grant();
    await millrace('print', '--licence', licence);
    const folder = await temporaryFolder();
    const file = join(folder, 'a.certificate');
    await millrace('certificate', 'export', `${licence}-1`, '--out', file);
    await cloud.close();
    const { logKey, adminKey } = installation.directory;
    const keyOf = (user: string) => installation.description.users.find(({ name }) => name === user)?.publicKey ?? '';
    await writeFile(join(folder, 'log.key'), `${logKey}\n`);
    await writeFile(join(folder, 'owner.key'), `${keyOf('owner')}\n`);
    const verify = (name: string, ...options: string[]) =>
      cli(['certificate', 'verify', name, ...options], { cwd: folder });
    for (const key of [logKey, 'log.key']) {
      for (const whose of [
        ['--owner', keyOf('owner')],
        ['--owner', 'owner.key'],
        ['--authority', adminKey],
        ['--owner', keyOf('owner'), '--authority', adminKey],
      ])
        expect((await verify('a.certificate', '--log-key', key, ...whose)).exit).toBe(0);
    }
    const [one, both] = [
      await verify('a.certificate', '--log-key', logKey, '--owner', 'owner.key'),
      await verify('a.certificate', '--log-key', logKey, '--owner', 'owner.key', '--authority', adminKey),
    ];
    expect(one.stdout).toContain('whose key signed the permit');
    expect(both.stdout).not.toContain('whose key signed the permit');
    expect(both.stdout).toContain('registered as owner by the administrator');
    expect((await verify('a.certificate')).exit).toBe(2);
    expect((await verify('a.certificate', '--log-key', logKey)).exit).toBe(2);
    expect((await verify('a.certificate', '--log-key', logKey, '--owner', logKey)).exit).toBe(2);
    for (const whose of [
      ['--owner', keyOf('operator')],
      ['--authority', keyOf('owner')],
      ['--owner', keyOf('operator'), '--authority', adminKey],
    ])
      expect((await verify('a.certificate', '--log-key', logKey, ...whose)).exit).toBe(6);
    expect((await verify('none', '--log-key', logKey, '--owner', 'owner.key')).exit).toBe(4);
    const bytes = await readFile(file);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
    await writeFile(file, bytes);
    const changed = await verify(file, '--log-key', logKey, '--owner', 'owner.key', '--json');
    expect(changed.exit).toBe(6);
    expect(oneDocument(changed.stdout)).toHaveProperty('error.code');
  });

  it('acts as the user given by --user', async () => {
    await grant();
    const callers = new Set<string>();
    cloud.intercept = ({ user }) => void callers.add(user);
    await millrace('licence', 'list', '--user', 'operator');
    expect([...callers]).toEqual([installation.description.users.find(({ name }) => name === 'operator')?.user]);
    expect((await millrace('licence', 'list', '--user', 'nobody')).exit).toBe(4);
  });

  it.each([
    ['E_INPUT', 2],
    ['E_FORBIDDEN', 3],
    ['E_NOT_FOUND', 4],
    ['E_STORE', 5],
    ['E_CELL_DAMAGED', 6],
    ['E_ALARM', 7],
  ] as const)('ends with the exit code of %s', async (code, exit) => {
    cloud.intercept = () => {
      throw new MillraceError(code, 'because');
    };
    expect(await millrace('design', 'list')).toMatchObject({
      exit,
      stderr: expect.stringContaining(`${code}\n  what    because`),
    });
  });

  it('checks the vault, and ends with exit code 6 when there is a problem', async () => {
    const result = { check: 'c', state: 'done', cells: 9, problems: [] as object[] };
    let polls = 0;
    cloud.intercept = ({ path, body }) => {
      if (path === '/v1/vault/checks') return { check: JSON.parse(Buffer.from(body).toString()).deep ? 'deep' : 'c' };
      if (path.startsWith('/v1/vault/checks/')) {
        polls += 1;
        return polls === 1 ? { check: 'c', state: 'running' } : { ...result, deep: path.endsWith('/deep') };
      }
      return undefined;
    };
    const clean = await millrace('vault', 'check', '--deep', '--json');
    expect(clean.exit).toBe(0);
    expect(oneDocument(clean.stdout)).toMatchObject({ clean: true, cells: 9, deep: true });
    result.problems.push({ code: 'E_CELL_MISSING', segment: 2 });
    const broken = await millrace('vault', 'check');
    expect(broken.exit).toBe(6);
    expect(broken.stdout).toContain('E_CELL_MISSING');
  });

  it('reports that nothing runs when the addresses are missing', async () => {
    await cloud.close();
    const { layout } = await openInstallation(installation.layout.home);
    await writeFile(layout.run.addresses, '{}');
    expect((await millrace('design', 'list')).exit).toBe(2);
    const other = await testInstallation();
    const { exit, stderr } = await cli(['design', 'list', '--home', other.layout.home]);
    expect(exit).toBe(5);
    expect(stderr).toMatch(/start it with `(npx )?millrace up`/);
  });
});

describe('logs', () => {
  it('are printed as text and as one document', async () => {
    const { layout } = await testInstallation();
    await mkdir(layout.run.logs, { recursive: true });
    const line = { level: 'info', time: '2026-01-01T10:00:00.000Z', name: 'keys', msg: 'ready' };
    await writeFile(join(layout.run.logs, 'keys.jsonl'), `${JSON.stringify(line)}\n`);
    const logs = (...argv: string[]) => cli(['logs', ...argv, '--home', layout.home]);
    expect((await logs('keys')).stdout).toBe('10:00:00.000 INFO  keys: ready\n');
    expect(oneDocument((await logs('--json')).stdout)).toEqual({ entries: [line] });
    expect((await logs('--json', '--follow')).exit).toBe(2);
    expect((await logs('segments')).exit).toBe(4);
  });
});

describe('the executable', () => {
  it('ends with the exit code, without a stack trace, and forwards signals', async () => {
    const folder = await temporaryFolder();
    const start = (...argv: string[]) => spawn(process.execPath, [built, ...argv], { cwd: folder });
    const wrong = start('status', '--json');
    let out = '';
    wrong.stdout.on('data', (chunk) => (out += chunk));
    const [code] = (await once(wrong, 'close')) as [number];
    expect(code).toBe(2);
    expect(oneDocument(out)).toMatchObject({ error: { code: 'E_CONFIG' } });

    const { layout } = await testInstallation();
    await mkdir(layout.run.logs, { recursive: true });
    await writeFile(join(layout.run.logs, 'keys.jsonl'), '{"msg":"first"}\n');
    const follow = start('logs', '--follow', '--home', layout.home);
    let seen = '';
    follow.stdout.on('data', (chunk) => (seen += chunk));
    await until(() => seen.includes('first'));
    follow.kill('SIGTERM');
    expect(await once(follow, 'close')).toEqual([0, null]);
  });
});
