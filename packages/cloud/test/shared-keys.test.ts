import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock, systemRandom, toHex } from '@millrace/base';
import { generateP256Key, type P256Key, p256Key } from '@millrace/identity';
import type { Directory } from '@millrace/protocol';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import {
  type ControlKeys,
  createControlKeys,
  createNodeKeys,
  writePermitKeyDocument,
} from '../src/admin/create-node.ts';
import { type NodeConfig, nodeFiles } from '../src/config.ts';
import { hasSharedKeys, shareKeys, takeSharedKeys } from '../src/control/shared-keys.ts';

// The keys that control nodes share, from the folder of the first to the folder of the second.

const installation = '22'.repeat(16);
const files = ['permitKey', 'permitKeyDocument', 'logKey', 'userAuthority', 'userAuthorityKey'] as const;
let base: string;
let keys: ControlKeys;
let identities: Record<string, P256Key>;
let directory: Directory;
let runs = 0;
beforeAll(async () => {
  base = await mkdtemp(join(tmpdir(), 'millrace-shared-keys-'));
  const folder = join(base, 'control-1');
  const { identity } = await createNodeKeys(folder);
  keys = await createControlKeys(folder, { installation, random: systemRandom, now: systemClock.now() });
  await writePermitKeyDocument(folder, systemRandom(80));
  const first = p256Key(new Uint8Array(await readFile(join(folder, nodeFiles.identity))));
  expect(toHex(first.publicKey)).toBe(identity);
  identities = { 'control-1': first, 'control-2': generateP256Key(), 'control-3': generateP256Key() };
});
afterAll(() => rm(base, { recursive: true, force: true }));
beforeEach(() => {
  runs++;
  directory = directoryOf(keys);
});

const directoryOf = ({ permitKey, logKey, userAuthority }: ControlKeys) =>
  ({
    ...{ version: 2, installation, permitKey, logKey, userAuthority, adminKey: '', name: '', authority: '' },
    nodes: Object.entries(identities).map(([id, { publicKey }]) => ({
      ...{ id, role: 'control', addresses: [], fingerprint: '00'.repeat(32) },
      identity: toHex(publicKey),
    })),
  }) as Directory;

function configOf(id: string, folder = join(base, id === 'control-1' ? id : `${id}-${runs}`)): NodeConfig {
  const secret = async (name: keyof typeof nodeFiles) =>
    new Uint8Array(await readFile(join(folder, nodeFiles[name] as string)));
  return { id, folder, identity: identities[id], secret, directory } as unknown as NodeConfig;
}
async function joining(id = 'control-2'): Promise<NodeConfig> {
  const config = configOf(id);
  await createNodeKeys(config.folder);
  return config;
}
const sealedTo = (id: string) => shareKeys(configOf('control-1'), 'the holder')(id);
const holds = async (holder: string) => holder === 'the holder';
const read = ({ folder }: NodeConfig, name: (typeof files)[number]) => readFile(join(folder, nodeFiles[name]));

it('arrive whole, and can be read by their owner only', async () => {
  const config = await joining();
  expect(await hasSharedKeys(config)).toBe(false);
  await takeSharedKeys(config, await sealedTo('control-2'), holds);
  expect(await hasSharedKeys(config)).toBe(true);
  for (const name of files) expect(await read(config, name), name).toEqual(await read(configOf('control-1'), name));
  for (const name of ['permitKey', 'logKey', 'userAuthorityKey'] as const)
    expect((await stat(join(config.folder, nodeFiles[name]))).mode & 0o077, name).toBe(0);
});

it('sealed to one node do not open at another, and nothing is written', async () => {
  const config = await joining();
  await expect(takeSharedKeys(config, await sealedTo('control-3'), holds)).rejects.toMatchObject({ code: 'E_SEAL' });
  const changed = await sealedTo('control-2');
  changed[changed.length - 1] = (changed.at(-1) ?? 0) ^ 1;
  await expect(takeSharedKeys(config, changed, holds)).rejects.toMatchObject({ code: 'E_SEAL' });
  expect(await hasSharedKeys(config)).toBe(false);
});

it.each(['permitKey', 'logKey', 'userAuthority'] as const)(
  'are refused if the directory lists another %s',
  async (which) => {
    const folder = join(base, `other-${runs}`);
    await createNodeKeys(folder);
    const other = await createControlKeys(folder, { installation, random: systemRandom, now: systemClock.now() });
    const sealed = await sealedTo('control-2');
    directory = directoryOf({ ...keys, [which]: other[which] });
    const config = await joining();
    await expect(takeSharedKeys(config, sealed, holds)).rejects.toMatchObject({ code: 'E_AUTH' });
    for (const name of files) await expect(read(config, name)).rejects.toMatchObject({ code: 'ENOENT' });
  },
);

it('are refused if the sender does not hold the lease of this node’s own store', async () => {
  const config = await joining();
  const sealed = await sealedTo('control-2');
  await expect(takeSharedKeys(config, sealed, async () => false)).rejects.toMatchObject({ code: 'E_CONFIG' });
  expect(await hasSharedKeys(config)).toBe(false);
});

it('are given to nobody whom the directory does not name', async () => {
  await expect(sealedTo('control-9')).rejects.toMatchObject({ code: 'E_DIRECTORY' });
});
