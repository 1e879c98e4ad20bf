import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLogger, systemClock, systemRandom, toHex } from '@millrace/base';
import { generateUserKey, keyName } from '@millrace/identity';
import { loadMachineConfig } from '@millrace/machine/agent';
import type { Pairing } from '@millrace/protocol';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { leaveFormerCloud } from '../src/pairing/former-cloud.ts';
import { forgetCloud, openMachineKeys, writeAdmission } from '../src/pairing/machine-folder.ts';
import { createCloud } from './hostile-control.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-site-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const log: string[] = [];
const logger = createLogger('agent', { destination: { write: (line) => void log.push(line) } });

/** Makes the folder that of a machine of the cloud, as at the end of pairing. */
async function joinCloud({ cloud, admin, installation }: Awaited<ReturnType<typeof newCloud>>): Promise<void> {
  const keys = await openMachineKeys(folder);
  const { publicKey } = keys.identity;
  const now = systemClock.now();
  const machine = keyName(publicKey);
  const certificate = await cloud.authority.certify({ role: 'machine', name: machine }, keys.tlsPublic, now + 60_000);
  const pairing: Pairing = {
    ...{ type: 'machine.pair', id: systemRandom(16), issued: now, expires: now + 60_000, name: 'mini' },
    machine: { machine, publicKey, serial: 'S-7', kind: 'virtual', profile: { factor: 9 } },
    ...{ tlsKey: keys.tlsPublic, material: 'PLA', driver: '{}' },
  };
  const distribution = { host: '127.0.0.1', port: 7_602 };
  const none = new Uint8Array();
  const answer = {
    ...{ version: 1 as const, installation, adminKey: toHex(admin.publicKey), directory: 1, distribution },
    ...{ document: none, credential: none },
  };
  await leaveFormerCloud(folder, installation, { clock: systemClock, logger });
  const admission = { pairing, answer, certificate, directory: cloud.signed, distribution, additional: false };
  await writeAdmission(folder, keys, admission, now);
  keys.close();
  (await loadMachineConfig(folder)).machineKey.close();
}

async function newCloud() {
  const admin = generateUserKey();
  const installation = toHex(systemRandom(16));
  return { admin, installation, cloud: await createCloud(admin, installation) };
}

it('a machine that is paired with another cloud sets aside what it kept for the former one', async () => {
  const [first, second] = [await newCloud(), await newCloud()];
  await joinCloud(first);
  await mkdir(join(folder, 'data'), { recursive: true });
  await writeFile(join(folder, 'data', 'run.state'), 'signed for the first');
  // Paired again with the same cloud, it keeps all.
  await forgetCloud(folder);
  await joinCloud(first);
  expect(log).toEqual([]);
  expect(await readdir(join(folder, 'data'))).toEqual(['run.state']);

  await forgetCloud(folder);
  await joinCloud(second);
  expect(log.map((line) => JSON.parse(line))).toMatchObject([{ former: first.installation }]);
  expect(await readdir(folder)).not.toContain('data');
  const [aside = ''] = (await readdir(folder)).filter((name) => name.startsWith('former-'));
  expect(await readFile(join(folder, aside, 'data', 'run.state'), 'utf8')).toBe('signed for the first');
  expect(await readdir(join(folder, aside))).toContain('directory.seen');
});
