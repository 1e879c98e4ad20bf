import { readdirSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock, systemRandom } from '@millrace/base';
import { cli, oneDocument, temporaryFolder, testInstallation } from '@millrace/testkit/cli/helpers';
import type { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { createProgram } from '../src/program.ts';
import { acquireLock } from '../src/supervisor/lock.ts';

const dummy = fileURLToPath(new URL('./fixtures/dummy.mjs', import.meta.url));

/** Every executable command, as its words. */
function allCommands(): string[][] {
  const leaves = (command: Command, words: string[]): string[][] => [
    // `print` is a command, and has commands below it.
    ...(command.commands.length === 0 || words[0] === 'print' ? [words] : []),
    ...command.commands.flatMap((child) => leaves(child, [...words, child.name()])),
  ];
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
        'case decide',
        'case list',
        'case open',
        'case show',
        'certificate export',
        'certificate verify',
        'cloud introduce',
        'cloud list',
        'cloud recognise',
        'cloud withdraw',
        'connect',
        'demo',
        'design add',
        'design delete',
        'design list',
        'design maintenance',
        'design repair',
        'design share',
        'down',
        'driver key',
        'driver make',
        'driver watch',
        'group add',
        'group create',
        'group list',
        'group remove',
        'group show',
        'init',
        'key list',
        'key rotate',
        'ledger monitor',
        'ledger verify',
        'licence approve',
        'licence extend',
        'licence grant',
        'licence list',
        'licence reinstate',
        'licence resume',
        'licence revoke',
        'licence show',
        'licence suspend',
        'licence transfer',
        'login',
        'logs',
        'machine add',
        'machine admit',
        'machine cancel',
        'machine assign',
        'machine list',
        'machine odometer',
        'machine pair',
        'machine pause',
        'machine resume',
        'machine safety',
        'machine status',
        'machine stop',
        'material certify',
        'material list',
        'material show',
        'material verify',
        'console',
        'metrics',
        'node admit',
        'node create',
        'node list',
        'node publish',
        'node replicas',
        'node replicate',
        'node retire',
        'node run',
        'object accept',
        'object appoint',
        'object inspect',
        'object list',
        'object photos',
        'object retire',
        'object show',
        'object transfer',
        'org create',
        'org list',
        'org refresh-sign-in',
        'org remove-sign-in',
        'org set-sign-in',
        'org show',
        'org sign-in',
        'package create',
        'package export',
        'package import',
        'peer-key',
        'print',
        'print cancel',
        'print pause',
        'print resume',
        'print stop',
        'queue cancel',
        'queue clear',
        'queue first',
        'queue list',
        'receive',
        'send',
        'migrate',
        'recover',
        'rehearse',
        'renew',
        'settings promote',
        'settings rollback',
        'settings set',
        'settings show',
        'site add',
        'site create',
        'site list',
        'site remove',
        'site report',
        'site show',
        'spool list',
        'spool load',
        'spool unload',
        'status',
        'token create',
        'token list',
        'token revoke',
        'up',
        'usage',
        'user add-device',
        'user invite',
        'user list',
        'user revoke',
        'vault check',
        'visit cancel',
        'visit list',
        'webhook create',
        'webhook delete',
        'webhook disable',
        'webhook enable',
        'webhook list',
        'webhook messages',
        'webhook replay',
        'webhook rotate',
        'webhook test',
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
    [['usage', '--all', '--check'], '--all shows totals only'],
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

it('a machine at another place gets no safety policy in this folder, which its agent does not read', async () => {
  const { layout, description } = await testInstallation();
  const [machine] = description.machines;
  const elsewhere = { ...description, machines: [{ ...machine, elsewhere: true }] };
  await writeFile(layout.installation, JSON.stringify(elsewhere));
  const { exit, stderr } = await cli(['machine', 'safety', machine?.name ?? '', '--home', layout.home]);
  expect([exit, stderr]).toEqual([expect.any(Number), expect.stringContaining('E_STATE')]);
});

describe('init and status', () => {
  it('create an installation once, in a folder with a space in its name', async () => {
    const folder = await temporaryFolder();
    const first = await cli(['init', '--json', '--home', 'my home'], { cwd: folder });
    expect(first.exit).toBe(0);
    const home = join(folder, 'my home');
    expect(oneDocument(first.stdout)).toMatchObject({
      home,
      users: ['admin'],
      people: [{ user: 'brand-admin' }, { user: 'owner' }, { user: 'auditor' }, { user: 'operator' }],
    });
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
