import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Bytes, systemRandom, toHex } from '@millrace/base';
import { generateP256Key, verifySignature } from '@millrace/identity';
import { openDesignSecret, sealDesignSecret } from '@millrace/protocol';
import { storeDesign } from '@millrace/testkit/machine/agent-design';
import { type Bench, startBench } from '@millrace/testkit/machine/agent-harness';
import { openSoftHsm, type SoftHsm } from '@millrace/testkit/soft-hsm';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createMachineKeyInToken } from '../src/admin/index.ts';
import { loadMachineConfig } from '../src/agent/config.ts';

const found = await openSoftHsm();
if (typeof found === 'string') console.warn(`skipped: ${found}`);

const PIN = '314159';
const entry = fileURLToPath(new URL('../dist/program/main.js', import.meta.url));
const design = storeDesign(systemRandom(8 * 16_370));

describe.skipIf(typeof found === 'string')('a machine whose key is in a token of SoftHSM2', () => {
  const hsm = found as SoftHsm;
  let settings: Awaited<ReturnType<typeof createMachineKeyInToken>>['settings'];
  let bench: Bench | undefined;
  const children: ChildProcess[] = [];

  const started = (folder: string, env: Record<string, string> = {}) => {
    const args = [entry, '--folder', folder, '--distribution', `127.0.0.1:${bench?.cloud.address.port}`];
    const child = spawn(process.execPath, args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, ...env },
    });
    children.push(child);
    let log = '';
    child.stderr.on('data', (text) => {
      log += text;
    });
    const exit = once(child, 'close').then(([code]) => code as number | null);
    return { exit, log: () => log, stop: () => child.kill('SIGTERM') };
  };

  beforeAll(async () => {
    await hsm.addToken('mill', PIN);
    const made = join(hsm.folder, 'machine');
    const pinFile = await hsm.pinFile('pin', PIN);
    const key = await createMachineKeyInToken(
      made,
      'machine',
      { module: hsm.module, label: 'mill', pinFile },
      { attended: true },
    );
    expect(await readdir(made, { recursive: true })).toEqual(['data']);
    settings = key.settings;
  });
  afterEach(async () => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
    await bench?.close();
    bench = undefined;
  });
  afterAll(() => hsm.close());

  test('makes a whole object, and its folder holds no key', async () => {
    bench = await startBench({ design, token: settings });
    const { cloud, folder, log } = bench;
    await cloud.print();
    await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed'));
    expect(bench.executed().equals(design.bytes)).toBe(true);
    expect(await readdir(folder)).not.toContain('identity.key');
    expect(log.join('')).not.toContain(PIN);
    expect(log.join('')).not.toContain('key is in a file');
  });

  test('a copy of its folder on a computer without the token neither starts, signs nor decrypts', async () => {
    bench = await startBench({ design, token: settings, start: false });
    const { cloud, folder, config } = bench;
    const stolen = await mkdtemp(join(hsm.folder, 'stolen-'));
    await cp(folder, stolen, { recursive: true });
    await cp(settings.pinFile ?? '', join(stolen, 'pin'));
    const elsewhere = join(stolen, 'softhsm2.conf');
    await mkdir(join(stolen, 'tokens'));
    await writeFile(elsewhere, `directories.tokendir = ${join(stolen, 'tokens')}\n`);
    const thief = started(stolen, { SOFTHSM2_CONF: elsewhere });
    expect(await thief.exit).toBe(5);
    expect(thief.log()).toContain('E_HSM');
    expect(thief.log()).not.toContain(PIN);

    // With a key of the thief's own in place of the token.
    const { token: _, ...open } = JSON.parse(await readFile(join(stolen, 'machine.json'), 'utf8'));
    await writeFile(join(stolen, 'machine.json'), JSON.stringify(open));
    await writeFile(join(stolen, 'identity.key'), generateP256Key().exportSecret());
    const { machineKey } = await loadMachineConfig(stolen);
    const { publicKey } = cloud.registration;
    const message = systemRandom(32);
    const signed = await machineKey.sign(message);
    expect(verifySignature('ES256', publicKey, message, signed)).toBe(false);
    const binding = { installation: config.directory.installation, licence: 'a1'.repeat(16), design: 'b2'.repeat(16) };
    const sealed = await sealDesignSecret(cloud.registration, binding, systemRandom(32));
    await expect(openDesignSecret(machineKey, binding, sealed)).rejects.toMatchObject({ code: 'E_SEAL' });
    expect((await openDesignSecret(config.machineKey, binding, sealed)).length).toBe(32);
  });

  test('a token with the same label and another key is refused at the start', async () => {
    bench = await startBench({ design, token: settings, start: false });
    const other = { ...settings, publicKey: toHex(generateP256Key().publicKey) };
    const path = join(bench.folder, 'machine.json');
    const json = JSON.parse(await readFile(path, 'utf8'));
    await writeFile(path, JSON.stringify({ ...json, token: other }));
    const agent = started(bench.folder);
    expect(await agent.exit).toBe(5);
    expect(agent.log()).toContain('another key');
  });

  test('without its token in mid-print it stops, does not start again, and reports once the token is back', async () => {
    const meddling = { frame: (frame: Bytes, segment: number) => (segment < 5 ? [frame] : []) };
    bench = await startBench({ design, token: settings, start: false, meddling });
    const { cloud, folder } = bench;
    const agent = started(folder);
    await cloud.print();
    await cloud.until(() => cloud.telemetry.some(({ acked }) => acked === 5));
    await hsm.pull();
    try {
      // The next signature is due when the stalled stream is resumed.
      expect(await agent.exit).toBe(5);
      expect(agent.log()).toContain('the machine’s key is gone');
      expect(await started(folder).exit).toBe(5);
      expect(cloud.reports.map(({ event }) => event)).not.toContain('failed');
    } finally {
      await hsm.putBack();
    }
    const back = started(folder);
    await cloud.until(() => cloud.reports.some(({ event }) => event === 'failed'));
    expect(cloud.reports.filter(({ event }) => event === 'started').length).toBe(1);
    back.stop();
    expect(await back.exit).toBe(0);
  });
});
