import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Bytes, MillraceError, systemClock, systemRandom, toBase64 } from '@millrace/base';
import { type Installation, initInstallation, openInstallation } from '@millrace/cli';
import { userFiles } from '@millrace/cli/parts';
import type { KeyView } from '@millrace/client';
import { nodeFiles } from '@millrace/cloud';
import { generateP256Key, keyName, p256Key, userKey } from '@millrace/identity';
import { type BoxKey, type BoxSecrets, signBoxKey } from '@millrace/protocol';
import { afterAll } from 'vitest';
import { registerKey } from '../protocol/support.ts';
import { plainUsers } from '../test-installation.ts';

const folders: string[] = [];
afterAll(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
});

/** A temporary folder with a space in its name. It is removed after the tests of the file. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace cli '));
  folders.push(folder);
  return folder;
}

export async function testInstallation(): Promise<Installation> {
  const home = join(await temporaryFolder(), 'home');
  await initInstallation({ home, users: plainUsers, clock: systemClock, random: systemRandom });
  return openInstallation(home);
}

export async function codeOf(work: Promise<unknown> | (() => unknown)): Promise<string> {
  try {
    await (typeof work === 'function' ? work() : work);
  } catch (error) {
    return error instanceof MillraceError ? error.code : String(error);
  }
  return 'no error';
}

/** A box key of the keys node for attachments, with its announcement and its secret. */
export interface KeysBox extends BoxSecrets {
  readonly body: BoxKey;
  readonly document: Bytes;
}

export async function keysBox({ layout, directory }: Installation, changes: Partial<BoxKey> = {}): Promise<KeysBox> {
  const identity = p256Key(await readFile(join(layout.node('keys'), nodeFiles.identity)));
  const key = generateP256Key();
  const now = systemClock.now();
  const times = { issued: now, expires: now + 3_600_000 };
  const kind = { type: 'box', node: 'keys-1', use: 'attachments' } as const;
  const body: BoxKey = { ...kind, number: now, point: key.publicKey, ...times, ...changes };
  const document = await signBoxKey(identity, directory.installation, body);
  return { body, document, keyOf: (number) => (number === body.number ? key : undefined) };
}

/** The credential of a user without an organisation, as control shows it. */
export async function keyView({ layout, directory }: Installation, publicKey: Bytes): Promise<KeyView> {
  const admin = userKey(await readFile(join(layout.user('admin'), userFiles.key)));
  const document = await registerKey(admin, directory.installation, publicKey, 'owner');
  admin.close();
  return { key: keyName(publicKey), name: 'owner', credential: toBase64(document) };
}
