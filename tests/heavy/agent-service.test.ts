import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { until } from '@millrace/testkit/cli/helpers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// The Debian package's unit, started by systemd as the first process of its own namespaces: PID, mount, cgroup, IPC, UTS,
// network. The root file system of this computer is below, and stays as it is.

const script = fileURLToPath(new URL('../../packages/agent/scripts/package.mjs', import.meta.url));
const boot = fileURLToPath(new URL('boot-unit.sh', import.meta.url));
const SYSTEMD = '/lib/systemd/systemd';
const run = promisify(execFile);
const namespaces = ['--mount', '--pid', '--cgroup', '--ipc', '--uts', '--net'];

/** The file system of version 2 control groups. */
const groups = /^\S+ (\S+) cgroup2 /m.exec(existsSync('/proc/mounts') ? readFileSync('/proc/mounts', 'utf8') : '')?.[1];

/** Why the unit cannot be started on this computer. */
function missing(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root can make namespaces';
  if (!existsSync(SYSTEMD)) return 'systemd is not installed';
  if (groups === undefined) return 'there are no version 2 control groups';
  for (const command of ['unshare', 'nsenter', 'dpkg-deb', 'ip'])
    if (spawnSync('which', [command]).status !== 0) return `there is no ${command}`;
  const overlay =
    'mount -t tmpfs t /mnt && mkdir /mnt/u /mnt/w /mnt/r && mount -t overlay o -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/r';
  const probe = spawnSync('unshare', [...namespaces, '--fork', 'sh', '-c', `mount --make-rprivate / && ${overlay}`]);
  return probe.status === 0 ? undefined : `this computer does not let it: ${probe.stderr.toString().trim()}`;
}
const why = missing();
if (why !== undefined) console.log(`the unit of the agent is not started by systemd here: ${why}`);

describe.skipIf(why !== undefined)('the unit of the agent', { timeout: 300_000 }, () => {
  let folder: string;
  let group: string;
  let booting: ChildProcess;
  let log = '';
  /** The first process of the namespaces, outside of them. */
  let first: number;

  const inside = async (...command: string[]) =>
    (await run('nsenter', ['--target', `${first}`, ...namespaces, '--root', '--wd=/', ...command])).stdout.trim();
  const show = (name: string) => inside('systemctl', 'show', 'millrace-agent', '--property', name, '--value');
  const page = () =>
    inside(process.execPath, '-e', "fetch('http://127.0.0.1:7680').then((r) => r.text()).then(console.log)");
  const identities = () => inside('sh', '-c', "find /var/lib/millrace-agent -name '*.key' -exec sha256sum {} + | sort");
  const isActive = async () => (await show('ActiveState').catch(() => '')) === 'active';

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'millrace-unit-'));
    const { stdout } = await run(process.execPath, [script, '--to', folder, '--only', 'deb']);
    const root = join(folder, 'root');
    await mkdir(root);
    group = join(groups ?? '', `millrace-test-${process.pid}`);
    mkdirSync(group);
    const unshare = ['unshare', ...namespaces, '--fork', '--kill-child=KILL', 'sh', boot, root, stdout.trim()];
    const entering = 'echo $$ > "$0/cgroup.procs" && exec "$@"';
    booting = spawn('sh', ['-c', entering, group, ...unshare], { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [booting.stdout, booting.stderr])
      stream?.on('data', (chunk) => {
        log += chunk;
      });
    await until(async () => {
      if (booting.exitCode !== null) throw new Error(`systemd did not start: ${log}`);
      first = Number(readFileSync(`/proc/${booting.pid}/task/${booting.pid}/children`, 'utf8').trim());
      return first > 0 && readFileSync(`/proc/${first}/comm`, 'utf8').trim() === 'systemd' && (await isActive());
    });
  }, 300_000);
  afterAll(async () => {
    if (booting?.exitCode === null) {
      const ended = new Promise((resolve) => booting.once('exit', resolve));
      process.kill(first, 'SIGKILL');
      await ended;
    }
    await until(async () => removed(group));
    await rm(folder, { recursive: true, force: true });
  });

  it('is installed and starts, as its own user without rights, and shows its page', async () => {
    expect(log).toContain('Setting up millrace-agent');
    expect(await show('StatusText')).toBe('machines: 1');
    const status = await inside('cat', `/proc/${await show('MainPID')}/status`);
    const user = await inside('id', '-u', 'millrace-agent');
    expect(status).toMatch(new RegExp(`^Uid:\\t${user}\\t${user}\\t${user}\\t${user}$`, 'm'));
    for (const line of ['CapEff:\t0000000000000000', 'CapBnd:\t0000000000000000', 'NoNewPrivs:\t1', 'Seccomp:\t2'])
      expect(status).toContain(line);
    expect(await inside('stat', '--format', '%a %U', '/var/lib/millrace-agent')).toBe('700 millrace-agent');
    expect(await page()).toContain('Machines of this site');
  });

  it('sees a file system that it cannot change, and nobody’s files', async () => {
    const main = await show('MainPID');
    const sandboxed = (command: string) =>
      inside('nsenter', '--target', main, '--mount', '--root', '--wd=/', 'sh', '-c', command);
    for (const path of ['/usr/x', '/etc/x', '/var/x', '/proc/sys/kernel/hostname'])
      await expect(sandboxed(`echo x > ${path}`)).rejects.toThrow('Read-only file system');
    expect(await sandboxed('ls -A /home /root 2>&1; true')).not.toMatch(/\.\w|\w+\.\w/);
    expect(await sandboxed('ls /dev')).not.toMatch(/\b(sd[a-z]|vd[a-z]|mem|kmsg)\b/);
  });

  it('is started again when it hangs, when it is killed, with the same keys; and it stops at once', async () => {
    const before = await identities();
    expect(before).toMatch(/^[0-9a-f]{64} /);
    let restarts = 0;
    for (const signal of ['STOP', 'KILL']) {
      await inside('kill', `-${signal}`, await show('MainPID'));
      restarts += 1;
      await until(async () => Number(await show('NRestarts')) === restarts && (await isActive()));
    }
    expect(await page()).toContain('Machines of this site');
    expect(await identities()).toBe(before);
    await inside('systemctl', 'stop', 'millrace-agent');
    expect([await show('ActiveState'), await show('Result')]).toEqual(['inactive', 'success']);
  });
});

/** Removes a control group with those below it. @returns false while a process is in one of them */
async function removed(group: string): Promise<boolean> {
  try {
    for (const entry of await readdir(group, { withFileTypes: true }))
      if (entry.isDirectory() && !(await removed(join(group, entry.name)))) return false;
    rmdirSync(group);
    return true;
  } catch (error) {
    return (error as { code?: string }).code === 'ENOENT';
  }
}
