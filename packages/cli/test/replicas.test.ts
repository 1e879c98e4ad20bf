import { access, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeCbor, fromHex, systemClock, systemRandom, toHex } from '@millrace/base';
import { loadNodeConfig, nodeFiles, readSettings } from '@millrace/cloud';
import {
  acceptReplica,
  isReplicaGrant,
  type ReplicaGrant,
  replicaFingerprint,
  requestReplica,
  sealReplicaKeys,
  withoutReplica,
} from '@millrace/cloud/admin';
import { p256Key, seal } from '@millrace/identity';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { type Installation, initInstallation, openInstallation } from '../src/parts.ts';

// A new replica of the keys node gets the node's keys from a host that has them, over anybody's hands.

const cluster = { contactPoints: ['127.0.0.1'], localDataCenter: 'dc', keyspace: 'keys' };
let scratch: string;
let installation: Installation;
let keys: string;
let folder: string;
let count = 0;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'millrace-replicas-'));
  const home = join(scratch, 'home');
  await initInstallation({ home, users: [], clock: systemClock, random: systemRandom });
  installation = await openInstallation(home);
  keys = installation.layout.node('keys');
}, 60_000);
beforeEach(() => {
  folder = join(scratch, `replica ${++count}`);
});
afterAll(() => rm(scratch, { recursive: true, force: true }));

const of = () => {
  const { installation: id, adminKey } = installation.directory;
  return { installation: id, adminKey, node: 'keys-1', replica: 'keys-1-b' };
};
const exists = (name: string) =>
  access(join(folder, name)).then(
    () => true,
    () => false,
  );

it('gets the keys of the node, and its settings; the same request and grant may be repeated', async () => {
  const request = await requestReplica(folder, of(), cluster);
  expect(await requestReplica(folder, of(), cluster)).toEqual(request);
  await expect(requestReplica(folder, { ...of(), replica: 'keys-1-c' }, cluster)).rejects.toMatchObject({
    code: 'E_CONFLICT',
  });
  const grant = await sealReplicaKeys(keys, request);
  expect(isReplicaGrant(JSON.parse(JSON.stringify(grant)))).toBe(true);
  for (const secret of [nodeFiles.kek, nodeFiles.identity, nodeFiles.tlsKey])
    expect(JSON.stringify(grant)).not.toContain(toHex(await readFile(join(keys, secret))));
  for (let time = 0; time < 2; time++) await acceptReplica(folder, grant);
  for (const file of [nodeFiles.kek, nodeFiles.identity, nodeFiles.tlsKey, nodeFiles.certificate])
    expect(await readFile(join(folder, file)), file).toEqual(await readFile(join(keys, file)));
  const settings = await readSettings(folder);
  expect(settings).toMatchObject({ role: 'keys', id: 'keys-1', replica: 'keys-1-b', cluster });
  expect(settings.maintenance).toEqual((await readSettings(keys)).maintenance);
  expect((await loadNodeConfig(folder)).replica).toBe('keys-1-b');
});

it('refuses what the node did not seal to this very request, and writes nothing', async () => {
  const request = await requestReplica(folder, of(), cluster);
  const genuine = await sealReplicaKeys(keys, request);
  const first = folder;
  folder = join(scratch, `replica ${++count}`);
  const another = await requestReplica(folder, of(), cluster);
  expect(replicaFingerprint(another)).not.toBe(replicaFingerprint(request));
  const sealed = fromHex(genuine.sealed);
  sealed[100] = (sealed[100] ?? 0) ^ 1;
  // Whoever knows the request, which is public: another node of the installation, sealing keys of its choice.
  const segments = p256Key(
    new Uint8Array(await readFile(join(installation.layout.node('segments'), nodeFiles.identity))),
  );
  const forged = async (sender?: typeof segments) =>
    toHex(
      await seal(
        fromHex(request.point),
        encodeCbor({ context: 'millrace/v1/keys-replica-grant', request }),
        encodeCbor({ kek: systemRandom(32) }),
        { ...(sender && { sender }) },
      ),
    );
  const wrong: [string, ReplicaGrant][] = [
    ['of another request', await sealReplicaKeys(keys, another)],
    ['altered', { ...genuine, sealed: toHex(sealed) }],
    ['for another replica', { ...genuine, replica: 'keys-1-c' }],
    ['sealed by another node', { ...genuine, sealed: await forged(segments) }],
    ['sealed by anybody', { ...genuine, sealed: await forged() }],
    ['with a directory of another administrator', { ...genuine, directory: { ...genuine.directory, signature: '00' } }],
  ];
  folder = first;
  for (const [what, grant] of wrong) {
    await expect(acceptReplica(folder, grant), what).rejects.toMatchObject({
      code: expect.stringMatching(/^E_(SEAL|AUTH|DIRECTORY|INPUT|SIGNATURE)$/),
    });
    for (const file of [nodeFiles.kek, nodeFiles.identity, nodeFiles.settings]) expect(await exists(file)).toBe(false);
  }
  await acceptReplica(folder, genuine);
});

it('is not made in the folder of another node, nor with the id of the first replica', async () => {
  await expect(requestReplica(keys, of(), cluster)).rejects.toMatchObject({ code: 'E_CONFLICT' });
  await expect(requestReplica(folder, { ...of(), replica: 'keys-1' }, cluster)).rejects.toMatchObject({
    code: 'E_INPUT',
  });
  await mkdir(folder);
  await expect(acceptReplica(folder, {})).rejects.toMatchObject({ code: 'E_INPUT' });
  await writeFile(join(folder, 'x'), '');
});

it('is removed only while another one has the newest keys, and by another one', () => {
  const state = (active: string, inSync: readonly string[]) => ({
    ...{ version: 3, token: 2, active },
    members: ['a', 'b'].map((id) => ({ id, inSync: inSync.includes(id) })),
  });
  expect(withoutReplica(state('a', ['a', 'b']), 'a', 'b').members).toEqual([{ id: 'a', inSync: true }]);
  expect(withoutReplica(state('a', ['a']), 'a', 'b').members).toEqual([{ id: 'a', inSync: true }]);
  for (const [of, own, id, code] of [
    [state('a', ['a', 'b']), 'a', 'c', 'E_NOT_FOUND'],
    [state('a', ['a', 'b']), 'b', 'b', 'E_STATE'],
    [state('a', ['a', 'b']), 'b', 'a', 'E_STATE'],
    [state('b', ['a']), 'b', 'a', 'E_STATE'],
  ] as const)
    expect(() => withoutReplica(of, own, id)).toThrow(expect.objectContaining({ code }));
});
