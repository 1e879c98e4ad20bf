import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MillraceError, systemClock, systemRandom, utf8 } from '@millrace/base';
import type { Installation } from '@millrace/cli';
import { type InstallationSession, openSession } from '@millrace/cli';
import { nodeFiles } from '@millrace/cloud';
import { p256Key } from '@millrace/identity';
import { contentKeysInfo, openFromBox, sealToBox, signBoxKey } from '@millrace/protocol';
import { FakeCloud } from '@millrace/testkit/client/fake-cloud';
import { codeOf, keysBox, testInstallation } from '@millrace/testkit/client/helpers';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { sealAttachment } from '../src/attachments.ts';
import { writePrepared } from '../src/node/prepared.ts';
import { SEALED_BYTES } from '../src/prepared.ts';
import { storeDesign } from '../src/upload.ts';

const DAY_MS = 86_400_000;
const plain = utf8('a secret');
const info = utf8('what for');

let installation: Installation;
let cloud: FakeCloud;
let owner: InstallationSession;

beforeEach(async () => {
  installation = await testInstallation();
  cloud = await FakeCloud.start(installation);
  owner = await openSession({ installation, user: 'owner', clock: systemClock, random: systemRandom, patienceMs: 100 });
});
afterEach(async () => {
  owner.close();
  await cloud.close();
});

it('seals attachments to the newest key that the keys node has signed', async () => {
  const sealed = await sealAttachment(owner, 'ab'.repeat(16), info, plain);
  expect(await openFromBox(cloud.box, info, sealed)).toEqual(plain);
});

it('rejects a key signed by another node, a key for mail and an old key, and seals nothing', async () => {
  const identity = p256Key(await readFile(join(installation.layout.node('control'), nodeFiles.identity)));
  const document = await signBoxKey(identity, installation.directory.installation, cloud.box.body);
  cloud.box = { ...cloud.box, document };
  expect(await codeOf(sealAttachment(owner, 'ab'.repeat(16), info, plain))).toBe('E_AUTH');
  cloud.box = await keysBox(installation, { use: 'mail' });
  expect(await codeOf(sealAttachment(owner, 'ab'.repeat(16), info, plain))).toBe('E_INPUT');
  const issued = systemClock.now() - 3 * DAY_MS;
  cloud.box = await keysBox(installation, { issued, expires: issued + DAY_MS });
  expect(await codeOf(sealAttachment(owner, 'ab'.repeat(16), info, plain))).toBe('E_UNAVAILABLE');
});

it('removes a prepared design whose box key has expired, with a code; the next one is sealed again', async () => {
  const design = '0123456789abcdef0123456789abcdef';
  const uploads = join(owner.user.folder, 'uploads');
  const writer = await writePrepared(uploads, systemRandom);
  await writer.append(new Uint8Array(SEALED_BYTES));
  const about = contentKeysInfo(design, owner.signer.publicKey);
  const keys = await sealToBox(cloud.box.body, about, new Uint8Array(32));
  const source = { path: '/some/part.gcode', size: 10, mtimeMs: 1 };
  const state = { version: 1 as const, design, name: 'part', segments: 1, size: 10, source };
  const prepared = await writer.finish(state, utf8('manifest'), keys);
  cloud.intercept = async ({ path }) => {
    if (path === '/v1/transactions') throw new MillraceError('E_BOX_KEY', 'the key is erased');
    return undefined;
  };
  expect(await codeOf(storeDesign(owner, prepared, () => undefined))).toBe('E_BOX_KEY');
  expect(await readdir(uploads)).toEqual([]);
});
