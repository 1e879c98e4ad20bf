import { execFile, spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// The packages of the agent, built, installed without a network, and started.

const script = fileURLToPath(new URL('../../packages/agent/scripts/package.mjs', import.meta.url));
const run = promisify(execFile);
const has = (command: string) => spawnSync('which', [command]).status === 0;

let folder: string;
let built: string[];
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace packages '));
  const only = has('dpkg-deb') ? [] : ['--only', 'npm'];
  const { stdout } = await run(process.execPath, [script, '--to', folder, ...only]);
  built = stdout.trim().split('\n');
}, 600_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Starts an installed agent in an empty folder, until its page shows. */
async function pageOf(command: string): Promise<string> {
  const port = await freePort();
  const site = await mkdtemp(join(folder, 'site '));
  const args = ['--folder', site, '--cloud', '127.0.0.1:9', '--page', `127.0.0.1:${port}`];
  // Nothing of the workspace may help: another working directory, and no variables of npm.
  const child = spawn(command, args, { cwd: site, env: { PATH: process.env.PATH }, stdio: ['ignore', 'pipe', 'pipe'] });
  try {
    let log = '';
    child.stderr.on('data', (chunk) => {
      log += chunk;
    });
    await new Promise<void>((resolve, reject) => {
      child.stdout.once('data', () => resolve());
      child.once('exit', () => reject(new Error(log)));
    });
    expect(await readdir(join(site, 'machines'))).toEqual(['1']);
    return await (await fetch(`http://127.0.0.1:${port}/`)).text();
  } finally {
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill();
    await exited;
  }
}

it('the npm package installs alone, without a network, and runs', { timeout: 600_000 }, async () => {
  const archive = built.find((path) => path.endsWith('.tgz')) ?? '';
  const empty = join(folder, 'empty');
  await mkdir(empty);
  await writeFile(join(empty, 'package.json'), '{}');
  await run('npm', ['install', '--offline', '--no-audit', '--no-fund', archive], { cwd: empty });
  expect(await pageOf(join(empty, 'node_modules/.bin/millrace-agent'))).toContain('Machines of this site');
});

describe.runIf(has('dpkg-deb'))('the Debian package', () => {
  const field = async (name: string) => (await run('dpkg-deb', ['--field', deb(), name])).stdout.trim();
  const deb = () => built.find((path) => path.endsWith('.deb')) ?? '';

  it('states what it needs and for which processor it is', async () => {
    expect(await field('Package')).toBe('millrace-agent');
    expect(await field('Depends')).toBe('nodejs (>= 20.19)');
    expect(await field('Architecture')).toBe((await run('dpkg', ['--print-architecture'])).stdout.trim());
    const { stdout } = await run('dpkg-deb', ['--contents', deb()]);
    const native = stdout.split('\n').filter((line) => line.endsWith('.node'));
    expect(native).not.toEqual([]);
    expect(native.filter((line) => !line.includes(`linux-${process.arch}`))).toEqual([]);
    expect(stdout).not.toMatch(/\/(lmdb|cassandra|@millrace\/(stores|cloud|cli|client|testkit))\//);
  });

  it.each([
    ['arm64', 183],
    ['armhf', 40],
  ])('for %s has native parts of that processor only', { timeout: 300_000 }, async (arch, machine) => {
    const { stdout } = await run(process.execPath, [script, '--to', folder, '--only', 'deb', '--arch', arch]);
    const unpacked = join(folder, arch);
    await run('dpkg-deb', ['--extract', stdout.trim(), unpacked]);
    const files = await readdir(unpacked, { recursive: true });
    const native = files.filter((path) => path.endsWith('.node'));
    expect(native.length).toBeGreaterThan(0);
    for (const path of native) {
      const header = await readFile(join(unpacked, path));
      // ELF, little-endian: e_machine.
      expect([header.subarray(1, 4).toString(), header.readUInt16LE(18)], path).toEqual(['ELF', machine]);
    }
  });

  it('unpacks into another root folder, where the agent starts', { timeout: 300_000 }, async () => {
    const root = join(folder, 'root');
    await mkdir(join(root, 'var/lib/dpkg'), { recursive: true });
    for (const name of ['status', 'available']) await writeFile(join(root, 'var/lib/dpkg', name), '');
    await run('dpkg', [`--root=${root}`, '--force-not-root', '--force-depends', '--unpack', deb()]);
    expect(await readFile(join(root, 'var/lib/dpkg/status'), 'utf8')).toContain('Package: millrace-agent');
    expect((await stat(join(root, 'usr/lib/millrace-agent'))).mode & 0o022).toBe(0);
    expect(await pageOf(join(root, 'usr/bin/millrace-agent'))).toContain('Machines of this site');
  });

  it.runIf(has('systemd-analyze'))('has a unit that systemd accepts, with little exposure', async () => {
    const unit = fileURLToPath(new URL('../../packages/agent/debian/millrace-agent.service', import.meta.url));
    const { stderr } = await run('systemd-analyze', ['verify', unit]).catch((error: { stderr: string }) => error);
    // The program is installed elsewhere than in this test.
    const problems = stderr.split('\n').filter((line) => line !== '' && !line.includes('is not executable'));
    expect(problems).toEqual([]);
    const { stdout } = await run('systemd-analyze', ['security', '--offline=yes', '--threshold=25', unit]);
    expect(stdout).toContain('Overall exposure level');
  });

  it('keeps the settings of the site when it is replaced', async () => {
    const control = join(folder, 'control');
    await run('dpkg-deb', ['--control', deb(), control]);
    expect(await readFile(join(control, 'conffiles'), 'utf8')).toBe('/etc/default/millrace-agent\n');
    for (const name of ['postinst', 'prerm', 'postrm']) {
      expect(existsSync(join(control, name))).toBe(true);
      // Keys of machines are never removed.
      expect(await readFile(join(control, name), 'utf8')).not.toMatch(/\brm\b/);
      await run('sh', ['-n', join(control, name)]);
    }
  });
});
