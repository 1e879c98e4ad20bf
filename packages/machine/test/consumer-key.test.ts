import { constants, publicEncrypt } from 'node:crypto';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { consumerKeyId, makeConsumerKey, readConsumerKey } from '../src/agent/packages/consumer-key.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace consumer '));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('makes one RSA key that only its user can read, and keeps it', async () => {
  await expect(readConsumerKey(folder)).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
  const { publicKey } = await makeConsumerKey(folder);
  expect(publicKey.asymmetricKeyType).toBe('rsa');
  expect(publicKey.asymmetricKeyDetails?.modulusLength).toBe(3_072);
  expect((await stat(join(folder, 'consumer.key'))).mode & 0o777).toBe(0o600);
  expect(consumerKeyId((await makeConsumerKey(folder)).publicKey)).toBe(consumerKeyId(publicKey));
});

test('opens what was wrapped for it with the same hash, and nothing else', async () => {
  const key = await readConsumerKey(folder);
  const secret = new Uint8Array(32).fill(7);
  const padding = constants.RSA_PKCS1_OAEP_PADDING;
  for (const oaepHash of ['sha1', 'sha256'] as const) {
    const wrapped = new Uint8Array(publicEncrypt({ key: key.publicKey, padding, oaepHash }, secret));
    expect(key.unwrap(wrapped, oaepHash)).toEqual(secret);
    expect(() => key.unwrap(wrapped, oaepHash === 'sha1' ? 'sha256' : 'sha1')).toThrow(/cannot be opened/);
    expect(() => key.unwrap(wrapped.subarray(1), oaepHash)).toThrow(/cannot be opened/);
  }
});

test('refuses a file that holds no RSA key', async () => {
  await writeFile(join(folder, 'consumer.key'), new Uint8Array(32));
  await expect(readConsumerKey(folder)).rejects.toMatchObject({ code: 'E_CONFIG' });
});
