import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { silentLogger } from '@millrace/base';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { notifyServiceManager } from '../src/service-manager.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace notify '));
  // Stands for systemd's program, and writes down what it was told.
  await writeFile(join(folder, 'systemd-notify'), `#!/bin/sh\necho "$@" >> "${join(folder, 'told')}"\n`);
  await chmod(join(folder, 'systemd-notify'), 0o755);
  vi.stubEnv('PATH', `${folder}${delimiter}${process.env.PATH}`);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

const told = async () => (await readFile(join(folder, 'told'), 'utf8').catch(() => '')).split('\n').slice(0, -1);

it('tells systemd that the agent is ready, alive, and stops', async () => {
  const env = { NOTIFY_SOCKET: '/run/systemd/notify', WATCHDOG_USEC: '60000' };
  const notifier = notifyServiceManager(env, () => 'machines: 2', silentLogger);
  await vi.waitFor(async () => expect((await told()).length).toBeGreaterThan(2), 30_000);
  notifier.close();
  await vi.waitFor(async () => expect(await told()).toContain('--stopping'), 30_000);
  expect(await told()).toContain('--ready --status=machines: 2');
  expect((await told()).filter((line) => line === 'WATCHDOG=1 --status=machines: 2').length).toBeGreaterThan(0);
});

it('does nothing without systemd, and sends no sign of life where none is wanted', async () => {
  notifyServiceManager({}, () => '', silentLogger).close();
  notifyServiceManager({ NOTIFY_SOCKET: '/x' }, () => 'ok', silentLogger).close();
  await vi.waitFor(async () => expect(await told()).toHaveLength(2), 30_000);
  expect((await told()).some((line) => line.includes('WATCHDOG'))).toBe(false);
});
