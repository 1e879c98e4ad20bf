import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { until } from '@millrace/testkit/cli/helpers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// The configurations of a site and its cloud, started by wg-quick on two computers: network namespaces with a cable
// between them. Where the kernel has no WireGuard, wg-quick starts wireguard-go.

const entry = fileURLToPath(new URL('../../packages/agent/dist/main.js', import.meta.url));
const run = promisify(execFile);
const namespaces = ['--net', '--mount'];

/** Why the tunnel cannot be started on this computer. */
function missing(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root can make namespaces';
  for (const command of ['wg', 'wg-quick', 'ip', 'unshare', 'nsenter'])
    if (spawnSync('which', [command]).status !== 0) return `there is no ${command}`;
  const add = 'ip link add wg0 type wireguard';
  if (spawnSync('unshare', ['--net', 'sh', '-c', add]).status === 0) return undefined;
  if (spawnSync('which', ['wireguard-go']).status !== 0)
    return 'the kernel has no WireGuard, and there is no wireguard-go';
  return existsSync('/dev/net/tun') ? undefined : 'there is no /dev/net/tun';
}
const why = missing();
if (why !== undefined) console.log(`no tunnel is started here: ${why}`);

/** A computer: a shell that waits in namespaces of its own. */
class Computer {
  readonly #shell: ChildProcess;

  constructor() {
    const quiet = 'mkdir -p /run/wireguard && mount -t tmpfs t /run/wireguard && ip link set lo up && echo up && cat';
    this.#shell = spawn('unshare', [...namespaces, 'sh', '-c', quiet], { stdio: ['pipe', 'pipe', 'inherit'] });
  }

  get pid(): string {
    return `${this.#shell.pid}`;
  }

  ready(): Promise<unknown> {
    return new Promise((resolve) => this.#shell.stdout?.once('data', resolve));
  }

  in(...command: string[]): [string, string[]] {
    return ['nsenter', ['--target', this.pid, ...namespaces, ...command]];
  }

  async run(...command: string[]): Promise<string> {
    return (await run(...this.in(...command))).stdout;
  }

  agent(...args: string[]): Promise<string> {
    return this.run(process.execPath, entry, 'wireguard', ...args);
  }

  close(): void {
    this.#shell.stdin?.end();
  }
}

describe.skipIf(why !== undefined)('a tunnel between a site and its cloud', { timeout: 120_000 }, () => {
  const [site, cloud] = why === undefined ? [new Computer(), new Computer()] : ([] as never);
  let folder: string;
  let server: ChildProcess | undefined;
  const at = (name: string) => join(folder, name);

  beforeAll(async () => {
    await Promise.all([site.ready(), cloud.ready()]);
    folder = await mkdtemp(join(tmpdir(), 'millrace-tunnel-'));
    await cloud.run('ip', 'link', 'add', 'cable', 'type', 'veth', 'peer', 'name', 'cable', 'netns', site.pid);
    for (const [computer, address] of [
      [cloud, '192.0.2.1/30'],
      [site, '192.0.2.2/30'],
    ] as const) {
      await computer.run('ip', 'address', 'add', address, 'dev', 'cable');
      await computer.run('ip', 'link', 'set', 'cable', 'up');
    }
    const [siteKey, cloudKey] = [await site.agent('key', at('site.key')), await cloud.agent('key', at('cloud.key'))];
    const own = ['--key', at('site.key'), '--address', '10.7.0.2', '--to', at('mrsite.conf')];
    const peer = ['--cloud-key', cloudKey.trim(), '--cloud-address', '10.7.0.1', '--endpoint', '192.0.2.1:51820'];
    await site.agent('site', ...own, ...peer);
    const sites = ['--port', '51820', '--site', `${siteKey.trim()}=10.7.0.2`, '--to', at('mrcloud.conf')];
    await cloud.agent('cloud', '--key', at('cloud.key'), '--address', '10.7.0.1', ...sites);
    await cloud.run('wg-quick', 'up', at('mrcloud.conf'));
    await site.run('wg-quick', 'up', at('mrsite.conf'));
    const answer = "require('node:http').createServer((_, r) => r.end('the cloud')).listen(7601, '10.7.0.1')";
    server = spawn(...cloud.in(process.execPath, '-e', answer), { stdio: 'inherit' });
  }, 60_000);
  afterAll(async () => {
    server?.kill();
    for (const [computer, name] of [
      [site, 'mrsite'],
      [cloud, 'mrcloud'],
    ] as const)
      await computer?.run('wg-quick', 'down', at(`${name}.conf`)).catch(() => undefined);
    site?.close();
    cloud?.close();
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  });

  const reached = () =>
    site
      .run(process.execPath, '-e', "fetch('http://10.7.0.1:7601').then((r) => r.text()).then(console.log)")
      .catch(() => '');

  it('is started from the files as they were written, and carries a connection', async () => {
    await until(async () => (await reached()) === 'the cloud\n');
    const [, transferred = '0'] = /received, ([\d.]+)/.exec(await site.run('wg', 'show', 'mrsite')) ?? [];
    expect(Number(transferred)).toBeGreaterThan(0);
  });

  it('passes the check of both sides while it runs', async () => {
    const checked = await site.agent('check', at('mrsite.conf'), '--cloud-address', '10.7.0.1', '--running');
    expect(checked).toMatch(/handshake \d+ s ago/);
    expect(await cloud.agent('check', at('mrcloud.conf'), '--side', 'cloud', '--running')).toMatch(
      /handshake \d+ s ago/,
    );
  });

  it('is found to be changed: another address, another peer, no interface', async () => {
    const key = (await site.run('wg', 'show', 'mrsite', 'peers')).trim();
    const findings = () =>
      site.agent('check', at('mrsite.conf'), '--running').then(
        () => '',
        ({ stderr }: { stderr: string }) => stderr,
      );
    await site.run('wg', 'set', 'mrsite', 'peer', key, 'allowed-ips', '10.7.0.1/32,198.51.100.0/24');
    expect(await findings()).toContain(`sends other addresses to ${key}`);
    await site.run('wg', 'set', 'mrsite', 'peer', key, 'allowed-ips', '10.7.0.1/32');
    expect(await findings()).toBe('');
    const stranger = (await site.agent('key', at('stranger.key'))).trim();
    await site.run('wg', 'set', 'mrsite', 'peer', stranger, 'allowed-ips', '10.7.0.9/32');
    expect(await findings()).toContain(`has another peer: ${stranger}`);
    await site.run('wg-quick', 'down', at('mrsite.conf'));
    expect(await findings()).toContain('the interface mrsite cannot be read');
    expect(await reached()).toBe('');
  });
});
