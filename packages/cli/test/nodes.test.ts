import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fromHex, systemClock, systemRandom, toHex } from '@millrace/base';
import { acceptAdmission, parseClusterSettings, requestNode } from '@millrace/cloud/admin';
import { loadNodeConfig } from '@millrace/cloud/parts';
import { fingerprint, generateUserKey, isTlsPair, p256Key } from '@millrace/identity';
import {
  type DirectoryDocument,
  documentHash,
  type NodeAdmission,
  type NodeRole,
  openDirectory,
  requestFingerprint,
  type SignedDirectory,
  type SignedNodeRequest,
  signDirectory,
  signNodeRequest,
  verifyDirectory,
} from '@millrace/protocol';
import { codeOf, temporaryFolder } from '@millrace/testkit/cli/helpers';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { initWithoutNodes } from '../src/installation/init.ts';
import { openInstallation } from '../src/installation/open.ts';
import { admitNodes, listNodes, readDirectory, readFoundation, retireNode } from '../src/nodes/admit.ts';
import { noProcesses } from '../src/rotation/processes.ts';
import { rotate } from '../src/rotation/rotate.ts';

const clock = systemClock;
const random = systemRandom;
const addresses: Partial<Record<NodeRole, { host: string; port: number }[]>> = {
  control: [{ host: 'control.example', port: 7601 }],
  distribution: [{ host: 'distribution.example', port: 7602 }],
};

interface Requested {
  readonly folder: string;
  readonly signed: SignedNodeRequest;
}

let base: string;
let home: string;
let anchor: { installation: string; adminKey: string };
let first: Requested[];
let made = 0;

/** A node's keys in a folder of their own, and its request. */
async function requested(
  role: NodeRole,
  id: string,
  { joins, ...changes }: { adminKey?: string; joins?: boolean } = {},
): Promise<Requested> {
  const folder = join(base, `host-${made++}`);
  const node = { ...anchor, role, id, addresses: addresses[role] ?? [], ...changes };
  const signed = await requestNode(folder, node, { listeners: {}, random, now: clock.now(), joins });
  return { folder, signed };
}

const admit = (
  nodes: readonly Requested[],
  options: { replaces?: string; sharedCells?: boolean; fingerprints?: string[] } = {},
) =>
  admitNodes({
    ...{ home, clock, random, requests: nodes.map(({ signed }) => signed) },
    fingerprints: nodes.map(({ signed }) => requestFingerprint(signed.request)),
    ...options,
  });
const admissionOf = async (id: string) =>
  JSON.parse(await readFile(join(home, 'admissions', `${id}.admission`), 'utf8')) as NodeAdmission;
const accept = async ({ folder, signed }: Requested, admission?: NodeAdmission) =>
  acceptAdmission(folder, admission ?? (await admissionOf(signed.request.id)));
const document = async () => (await readDirectory(await readFoundation(home))) as DirectoryDocument;

let template: string;
beforeAll(async () => {
  template = join(await temporaryFolder(), 'template');
  base = template;
  home = join(template, 'admin');
  const { description } = await initWithoutNodes({ home, name: 'Hosts', clock, random });
  anchor = { installation: description.installation, adminKey: description.adminKey };
  first = [];
  for (const role of ['control', 'distribution', 'segments', 'keys'] as const)
    first.push(await requested(role, `${role}-1`));
});
beforeEach(async () => {
  base = join(await temporaryFolder(), 'copy');
  await cp(template, base, { recursive: true });
  home = join(base, 'admin');
  first = first.map(({ folder, signed }) => ({ folder: join(base, folder.split('/').at(-1) as string), signed }));
});

describe('nodes on hosts of their own', () => {
  it('start from keys that were made in their folders, and from one file of the administrator', async () => {
    expect(await codeOf(openInstallation(home))).toBe('E_STATE');
    expect(await admit(first)).toMatchObject({ sequence: 1 });
    for (const node of first) {
      expect(await codeOf(loadNodeConfig(node.folder))).toBe('E_CONFIG');
      await accept(node);
      const config = await loadNodeConfig(node.folder);
      const { id, role, identity } = node.signed.request;
      expect(config).toMatchObject({ id, role });
      expect(isTlsPair(config.tls)).toBe(true);
      expect(toHex(config.identity.publicKey)).toBe(identity);
      const entry = config.directory.nodes.find((listed) => listed.id === id);
      expect(entry).toMatchObject({ identity, fingerprint: fingerprint(config.tls.certificate) });
      if (role !== 'control') continue;
      expect(toHex(p256Key(await config.secret('permitKey')).publicKey)).toBe(config.directory.permitKey);
      expect(config.directory.name).toBe('Hosts');
    }
    // No secret of a node has come to the administrator, and none left with an admission.
    for (const { folder, signed } of first)
      for (const name of ['identity.key', 'tls.key.pem']) {
        const secret = await readFile(join(folder, name));
        for (const text of [JSON.stringify(signed), JSON.stringify(await admissionOf(signed.request.id))])
          expect(text).not.toContain(secret.toString('hex'));
      }
    expect((await listNodes(home, clock)).nodes.map(({ id }) => id)).toContain('keys-1');
  });

  it('make the same request again, and are admitted again without another directory', async () => {
    const [control] = first as [Requested];
    const { installation, adminKey, role, id, addresses: reached } = control.signed.request;
    const again = (changes: object = {}) =>
      requestNode(
        control.folder,
        { installation, adminKey, role, id, addresses: reached, ...changes },
        { listeners: {}, random, now: clock.now() },
      );
    expect(await again()).toEqual(control.signed);
    expect(await codeOf(again({ id: 'other' }))).toBe('E_CONFLICT');
    await admit(first);
    const before = await admissionOf(id);
    expect(await admit(first)).toMatchObject({ sequence: 1 });
    expect(await admissionOf(id)).toEqual(before);
  });

  it('know their cluster from the command that made them', async () => {
    const kafka = { brokers: ['127.0.0.1:9092'], prefix: 'millrace' };
    const cluster = { contactPoints: ['127.0.0.1'], localDataCenter: 'dc', keyspace: 'control', kafka };
    const folder = join(base, 'host-of-a-cluster');
    const node = { ...anchor, role: 'control', id: 'control-1', addresses: addresses.control ?? [] } as const;
    const request = (changes: object) =>
      requestNode(folder, node, { listeners: {}, cluster, random, now: clock.now(), ...changes });
    const signed = await request({});
    expect(await request({})).toEqual(signed);
    expect(await codeOf(request({ cluster: { ...cluster, keyspace: 'other' } }))).toBe('E_CONFLICT');
    expect(await codeOf(request({ cluster: undefined }))).toBe('E_CONFLICT');
    await admit([{ folder, signed }, ...first.slice(1)]);
    await accept({ folder, signed });
    expect((await loadNodeConfig(folder)).cluster).toEqual(cluster);

    expect(parseClusterSettings(cluster, 'control')).toEqual(cluster);
    for (const wrong of [
      () => parseClusterSettings(cluster, 'segments'), // only control keeps mail
      () => parseClusterSettings({ ...cluster, kafka: { ...kafka, brokers: ['10.0.0.1:9092'] } }, 'control'),
      () => parseClusterSettings({ ...cluster, kafka: { ...kafka, prefix: 'A' } }, 'control'),
      () => parseClusterSettings({ ...cluster, kafka: { ...kafka, more: 1 } }, 'control'),
    ])
      expect(wrong).toThrow(expect.objectContaining({ code: 'E_INPUT' }));
  });

  it('can be replaced: the next directory names the new node only, and the old admission changes nothing', async () => {
    await admit(first);
    for (const node of first) await accept(node);
    const second = await requested('distribution', 'distribution-2');
    expect(await admit([second])).toMatchObject({ sequence: 2 });
    await accept(second);
    expect(await retireNode(home, 'distribution-1', clock)).toMatchObject({ sequence: 3 });
    expect((await document()).nodes.map(({ id }) => id)).toEqual([
      'control-1',
      'segments-1',
      'keys-1',
      'distribution-2',
    ]);
    expect(await codeOf(retireNode(home, 'distribution-2', clock))).toBe('E_STATE');
    expect(await codeOf(retireNode(home, 'distribution-1', clock))).toBe('E_NOT_FOUND');
    const cells = await requested('segments', 'segments-2');
    expect(await codeOf(admit([cells]))).toBe('E_STATE');
    expect(await codeOf(admit([cells], { replaces: 'keys-1' }))).toBe('E_NOT_FOUND');
    expect(await admit([cells], { replaces: 'segments-1' })).toMatchObject({ sequence: 4 });
    expect(await admit([cells], { replaces: 'segments-1' })).toMatchObject({ sequence: 4 });
    expect((await document()).nodes.filter(({ role }) => role === 'segments').map(({ id }) => id)).toEqual([
      'segments-2',
    ]);
    const more = await requested('segments', 'segments-3');
    expect(await codeOf(admit([more]))).toBe('E_STATE');
    expect(await admit([more], { sharedCells: true })).toMatchObject({ sequence: 5 });
    expect((await document()).nodes.filter(({ role }) => role === 'segments').map(({ id }) => id)).toEqual([
      'segments-2',
      'segments-3',
    ]);
    for (const role of ['keys', 'control'] as const)
      expect(await codeOf(admit([await requested(role, `${role}-2`)]))).toBe('E_STATE');
  });

  it('of a role that shares keys join those that are there, without keys of their own', async () => {
    const joining = await requested('control', 'control-2', { joins: true });
    // The first one makes the keys.
    expect(await codeOf(admit([joining, ...first.slice(1)]))).toBe('E_STATE');
    await admit(first);
    expect(await codeOf(admit([await requested('control', 'control-3')]))).toBe('E_STATE');
    expect(await codeOf(admit([joining], { replaces: 'control-1' }))).toBe('E_STATE');
    expect(await admit([joining])).toMatchObject({ sequence: 2 });
    await accept(joining);
    const config = await loadNodeConfig(joining.folder);
    expect(config.directory.permitKey).toBe(first[0]?.signed.request.control?.permitKey);
    for (const secret of ['permitKey', 'logKey', 'userAuthorityKey'] as const)
      expect(await codeOf(config.secret(secret))).toBe('E_CONFIG');
    // Not the node for which these keys were admitted.
    const { installation, adminKey, role, id, addresses: reached } = joining.signed.request;
    const node = { installation, adminKey, role, id, addresses: reached };
    const again = (joins: boolean) =>
      requestNode(joining.folder, node, { listeners: {}, random, now: clock.now(), joins });
    expect(await again(true)).toEqual(joining.signed);
    expect(await codeOf(again(false))).toBe('E_CONFLICT');
    expect(await retireNode(home, 'control-1', clock)).toMatchObject({ sequence: 3 });
    expect(await codeOf(retireNode(home, 'control-2', clock))).toBe('E_STATE');
  });

  it('get another certificate for the same key before the first one expires', async () => {
    await admit(first);
    for (const node of first) await accept(node);
    const [control] = first as [Requested];
    const old = await admissionOf('control-1');
    const later = { ...clock, now: () => clock.now() + 350 * 86_400_000 };
    const request = { requests: [control.signed], fingerprints: [requestFingerprint(control.signed.request)] };
    expect(await admitNodes({ home, clock: later, random, ...request })).toMatchObject({ sequence: 2 });
    await accept(control);
    const { tls, directory } = await loadNodeConfig(control.folder);
    expect(isTlsPair(tls)).toBe(true);
    expect(tls.certificate).not.toBe(old.certificate);
    const entry = directory.nodes.find(({ id }) => id === 'control-1');
    expect(entry?.fingerprint).toBe(fingerprint(tls.certificate));
    expect(entry?.former?.fingerprints).toEqual([fingerprint(old.certificate)]);
    // The old file is still named in the unit that starts the node.
    await accept(control, old);
    expect((await loadNodeConfig(control.folder)).tls.certificate).toBe(tls.certificate);
  });

  it('keep their keys: the administrator’s computer refuses to rotate them', async () => {
    await admit(first);
    const installation = await openInstallation(home);
    expect(await codeOf(rotate('tls', { installation, processes: noProcesses, clock, random }))).toBe('E_STATE');
  });
});

describe('a request', () => {
  it('that was changed on the way is refused', async () => {
    const [control] = first as [Requested];
    const changed = { ...control.signed, request: { ...control.signed.request, id: 'control-9' } };
    expect(await codeOf(admit([{ ...control, signed: changed }, ...first.slice(1)]))).toBe('E_SIGNATURE');
    // Somebody on the way has made a request of their own, with keys of their own.
    const theirs = await requested('control', 'control-1');
    const fingerprints = first.map(({ signed }) => requestFingerprint(signed.request));
    expect(await codeOf(admit([theirs, ...first.slice(1)], { fingerprints }))).toBe('E_AUTH');
    expect(await codeOf(admit(first, { fingerprints: fingerprints.slice(1) }))).toBe('E_AUTH');
    expect(await codeOf(admit(first, { fingerprints: [...fingerprints, 'ab'.repeat(32)] }))).toBe('E_AUTH');
    expect(await readDirectory(await readFoundation(home))).toBeUndefined();
  });

  it('for another administrator, with a taken id, or of too few roles is refused', async () => {
    const stranger = toHex(generateUserKey().publicKey);
    expect(await codeOf(admit([await requested('keys', 'keys-9', { adminKey: stranger }), ...first.slice(0, 3)]))).toBe(
      'E_AUTH',
    );
    expect(await codeOf(admit(first.slice(1)))).toBe('E_STATE');
    expect(await codeOf(admit([...first, await requested('segments', 'segments-2')]))).toBe('E_STATE');
    await admit(first);
    expect(await codeOf(admit([await requested('distribution', 'distribution-1')]))).toBe('E_CONFLICT');
    expect(await codeOf(admit([await requested('distribution', 'keys-1')]))).toBe('E_CONFLICT');
    expect((await document()).sequence).toBe(1);
  });

  it('of one role cannot be used for another', async () => {
    const [, , segments] = first as [Requested, Requested, Requested];
    const { role: _role, ...rest } = segments.signed.request;
    const identity = p256Key(await readFile(join(segments.folder, 'identity.key')));
    const asKeys = await signNodeRequest(identity, { ...rest, role: 'keys', id: 'keys-2' });
    await admit(first);
    // The key of the segments node signs for a node of another role: neither added nor twice in the directory.
    expect(await codeOf(admit([{ ...segments, signed: asKeys }]))).toBe('E_STATE');
    const asDistribution = await signNodeRequest(identity, {
      ...rest,
      ...{ role: 'distribution', id: 'distribution-2', addresses: addresses.distribution ?? [] },
    });
    expect(await codeOf(admit([{ ...segments, signed: asDistribution }]))).toBe('E_CONFIG');
    expect((await document()).sequence).toBe(1);
  });
});

describe('an admission', () => {
  /** The directory with a change, signed by somebody. */
  async function forged(
    change: (nodes: DirectoryDocument['nodes']) => DirectoryDocument['nodes'],
    by = generateUserKey(),
  ) {
    const before = await document();
    return signDirectory(by, { ...before, sequence: before.sequence + 1, nodes: change(before.nodes) });
  }
  const adminSigner = async () => {
    const { userKey } = await import('@millrace/identity');
    return userKey(await readFile(join(home, 'users', 'admin', 'user.key')));
  };

  it('that a node has written for itself is refused by the node’s own software and by everybody else', async () => {
    await admit(first);
    const [control] = first as [Requested];
    await accept(control);
    const evil = await requested('distribution', 'distribution-2');
    const { identity } = evil.signed.request;
    const own = {
      ...{ id: 'distribution-2', role: 'distribution' as const, addresses: [] },
      fingerprints: [{ fingerprint: 'ab'.repeat(32), since: 1 }],
      identities: [{ key: identity, since: 1 }],
    };
    const directory = await forged((nodes) => [...nodes, own]);
    const admission = { version: 1 as const, id: 'distribution-2', certificate: '', directory };
    expect(await codeOf(accept(evil, admission))).toBe('E_DIRECTORY');
    const file = await openDirectory({
      ...{ path: join(control.folder, 'directory.json'), folder: control.folder, anchor, clock },
    });
    expect(await codeOf(file.offer(directory))).toBe('E_DIRECTORY');
    expect(file.sequence).toBe(1);
  });

  it('of another node, or for other keys, is refused, and nothing is written', async () => {
    await admit(first);
    const [control, distribution] = first as [Requested, Requested];
    expect(await codeOf(accept(control, await admissionOf('distribution-1')))).toBe('E_AUTH');
    const impostor = await requested('distribution', 'distribution-1');
    expect(await codeOf(accept(impostor, await admissionOf('distribution-1')))).toBe('E_AUTH');
    const mixed = { ...(await admissionOf('control-1')), certificate: (await admissionOf('keys-1')).certificate };
    expect(await codeOf(accept(control, mixed))).toBe('E_AUTH');
    const { permitKeyDocument: _, ...without } = await admissionOf('control-1');
    expect(await codeOf(accept(control, without))).toBe('E_AUTH');
    expect(await codeOf(loadNodeConfig(control.folder))).toBe('E_CONFIG');
    await accept(distribution);
    await rm(join(distribution.folder, 'node-request.json'));
    expect(await codeOf(accept(distribution))).toBe('E_CONFIG');
  });

  it('of a node that was retired since then is refused where the newer directory is known', async () => {
    await admit(first);
    const second = await requested('distribution', 'distribution-2');
    await admit([second]);
    const admission = await admissionOf('distribution-2');
    await accept(second, admission);
    await retireNode(home, 'distribution-2', clock);
    const newest = JSON.parse(await readFile(join(home, 'directory.json'), 'utf8')) as SignedDirectory;
    const file = await openDirectory({
      ...{ path: join(second.folder, 'directory.json'), folder: second.folder, anchor, clock },
    });
    expect(await file.offer(newest)).toBe(true);
    expect(await codeOf(accept(second, admission))).toBe('E_AUTH');
    expect(await codeOf(loadNodeConfig(second.folder))).toBe('E_DIRECTORY');
    // The older directory is put back by hand.
    await writeFile(join(second.folder, 'directory.json'), JSON.stringify(admission.directory));
    expect(await codeOf(accept(second, admission))).toBe('E_DIRECTORY');
    expect(await codeOf(loadNodeConfig(second.folder))).toBe('E_DIRECTORY');
  });

  it('two directories with one number, both signed by the administrator, are detected by whoever sees both', async () => {
    await admit(first);
    const [control, distribution] = first as [Requested, Requested];
    await accept(control);
    await accept(distribution);
    const signer = await adminSigner();
    const fork = (name: string) => async () => signDirectory(signer, { ...(await document()), sequence: 2, name });
    const [one, other] = [await fork('one')(), await fork('other')()];
    expect(toHex(documentHash(one.directory))).not.toBe(toHex(documentHash(other.directory)));
    const open = ({ folder }: Requested) =>
      openDirectory({ path: join(folder, 'directory.json'), folder, anchor, clock });
    const [atControl, atDistribution] = [await open(control), await open(distribution)];
    expect(await atControl.offer(one)).toBe(true);
    expect(await atDistribution.offer(other)).toBe(true);
    expect(await codeOf(atControl.offer(other))).toBe('E_DIRECTORY');
    // Distribution asks control for what is newer than its own: it is not, so only the next number ends the fork.
    expect(await codeOf(atDistribution.offer(one))).toBe('E_DIRECTORY');
    expect(verifyDirectory(one, anchor).sequence).toBe(2);
    const next = await signDirectory(signer, { ...one.directory, sequence: 3 });
    for (const file of [atControl, atDistribution]) expect(await file.offer(next)).toBe(true);
    expect(fromHex(next.directory.installation)).toHaveLength(16);
  });
});
