import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createApiClient, distributionRoutes } from '@millrace/api';
import { silentLogger, systemClock, systemRandom, toHex } from '@millrace/base';
import { admitNodes, nodeRoles, openInstallation, openUser, publish, retireNode, spread } from '@millrace/cli/parts';
import { acceptAdmission, acceptReplica, requestNode, requestReplica, sealReplicaKeys } from '@millrace/cloud/admin';
import { createTlsServer, listen, loadNodeConfig, nodeFiles } from '@millrace/cloud/parts';
import {
  type Authority,
  fingerprint,
  generateP256Key,
  generateUserKey,
  openAuthority,
  type TlsIdentity,
} from '@millrace/identity';
import { loadMachineConfig } from '@millrace/machine/parts';
import {
  connectLink,
  createHttpClient,
  type DirectoryDocument,
  directoryFiles,
  fetchDirectory,
  type HttpClient,
  type NodeEntry,
  openDirectory,
  parseNodeAdmission,
  requestFingerprint,
  seenSequence,
  signDirectory,
  tlsTo,
} from '@millrace/protocol';
import {
  type HostileInstallation,
  openHostileInstallation,
  SITE,
} from '@millrace/testkit/adversary/hostile-installation';
import { call } from '@millrace/testkit/http';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

/** Waits up to a minute: the computer may be busy. */
const eventually = <T>(check: () => T | Promise<T>) => vi.waitFor(check, { timeout: 60_000, interval: 100 });

let system: HostileInstallation;
let authority: Authority;
/** The directory of the installation's creation: signed by the administrator, and replaced since. */
let oldest: string;
let entry: NodeEntry;
let second: TlsIdentity;

beforeAll(async () => {
  system = await openHostileInstallation();
  const { layout } = system.installation;
  oldest = await readFile(layout.directory, 'utf8');
  authority = await openAuthority(
    {
      certificate: await readFile(layout.authority.certificate, 'utf8'),
      key: new Uint8Array(await readFile(layout.authority.key)),
    },
    systemClock.now,
  );
  second = await authority.issue({ role: 'segments', id: 'segments-2' });
  const since = systemClock.now();
  entry = {
    id: 'segments-2',
    role: 'segments',
    addresses: [],
    fingerprints: [{ fingerprint: fingerprint(second.certificate), since }],
    identities: [{ key: toHex(generateP256Key().publicKey), since }],
  };
});
afterAll(() => system?.close());

/** Publishes a signed directory to every folder. Resolves when the running nodes have loaded it. */
async function change(nodesOf: (document: DirectoryDocument) => DirectoryDocument['nodes']): Promise<void> {
  const { installation } = system;
  await publish(installation, systemClock, (document) => ({ ...document, nodes: nodesOf(document) }));
  await spread(installation, { running: async () => [...nodeRoles], restart: async () => undefined }, systemClock);
}
const add = () => change(({ nodes }) => [...nodes, entry]);
const remove = () => change(({ nodes }) => nodes.filter(({ id }) => id !== entry.id));

/** The status of control's answer to the second segments node. */
const statusOfSecond = async () =>
  (
    await call(system.addresses.control, system.installation.directory, 'control', second, {
      method: 'GET',
      path: '/v1/deletions',
    })
  ).status;

describe('while the nodes run', () => {
  it('a node is served from the directory that adds it to the one that removes it, not otherwise', async () => {
    expect(await statusOfSecond()).toBe(401);
    await add();
    await eventually(async () => expect(await statusOfSecond()).toBe(200));
    const { directory } = system.installation;
    const link = connectLink(
      {
        addresses: () => [system.addresses.distribution],
        path: '/v1/node',
        tls: tlsTo(directory, 'distribution', () => second),
        logger: silentLogger,
      },
      { message: () => undefined },
    );
    try {
      await eventually(() => expect(link.connected).toBe(true));
      await remove();
      // A node notes the directory on its disk a moment before it uses it.
      await eventually(async () => expect(await statusOfSecond()).toBe(401));
      await eventually(() => expect(link.connected).toBe(false));
    } finally {
      link.close();
    }
    // All other parties are served as before.
    expect(await system.owner.api.status()).toHaveProperty('nodes');
    expect((await system.call('control', 'segments', { method: 'GET', path: '/v1/deletions' })).status).toBe(200);
  });
});

describe('an older directory signed by the administrator', () => {
  it('is rejected at restart by every node, agent and client that has accepted a newer one', async () => {
    const { layout, description } = system.installation;
    const machine = layout.machine(SITE);
    await loadMachineConfig(machine);
    const parties: [string, () => Promise<unknown>][] = [
      ...nodeRoles.map((role): [string, () => Promise<unknown>] => [
        layout.node(role),
        () => loadNodeConfig(layout.node(role)),
      ]),
      [machine, () => loadMachineConfig(machine)],
      [layout.home, () => openInstallation(layout.home)],
    ];
    for (const [folder, load] of parties) {
      expect(await seenSequence(folder), folder).toBeGreaterThan(1);
      const path = join(folder, directoryFiles.directory);
      await copyFile(path, `${path}.kept`);
      await writeFile(path, oldest);
      await expect(load(), folder).rejects.toMatchObject({ code: 'E_DIRECTORY' });
      await copyFile(`${path}.kept`, path);
      await load();
    }
    expect(description.adminKey).toBe(system.installation.directory.adminKey);
  });

  it('is rejected when control serves it', async () => {
    const file = system.installation.directories;
    const { sequence } = file;
    await expect(fetchDirectory(async () => JSON.parse(oldest), file)).rejects.toMatchObject({ code: 'E_DIRECTORY' });
    expect(file.sequence).toBe(sequence);
  });
});

describe('the newest directory over the network', () => {
  it.each(['control', 'distribution'] as const)('is fetched from %s and stored', async (node) => {
    const { directory, directories, description } = system.installation;
    // A computer that was set up with the installation, and has received no update since.
    const folder = join(system.scratch, `elsewhere-${node}`);
    await mkdir(folder);
    const path = join(folder, directoryFiles.directory);
    await writeFile(path, oldest);
    const open = () => openDirectory({ path, folder, anchor: description, clock: systemClock });
    const file = await open();
    expect(file.sequence).toBe(1);
    const identity = await system.identity('owner');
    const http: HttpClient = createHttpClient({
      addresses: () => [system.addresses[node]],
      tls: tlsTo(directory, node, () => identity),
    });
    const { newest } = createApiClient(distributionRoutes, { transport: http }).directory;
    try {
      expect(await fetchDirectory(newest, file)).toBe(true);
      expect(await fetchDirectory(newest, file)).toBe(false);
    } finally {
      http.close();
    }
    expect(file.signed).toEqual(directories.signed);
    await writeFile(path, oldest);
    await expect(open()).rejects.toMatchObject({ code: 'E_DIRECTORY' });
  });

  it('shows a process that the administrator’s key has signed two with one number', async () => {
    const { directory, directories, description } = system.installation;
    const admin = await openUser(system.installation, 'admin');
    const fork = await signDirectory(admin.signer, { ...directories.signed.directory, name: 'fork' });
    admin.close();
    const folder = join(system.scratch, 'fork');
    await mkdir(folder);
    const path = join(folder, directoryFiles.directory);
    await writeFile(path, JSON.stringify(fork));
    const file = await openDirectory({ path, folder, anchor: description, clock: systemClock });
    expect(file.sequence).toBe(directories.sequence);
    const identity = await system.identity('owner');
    const http: HttpClient = createHttpClient({
      addresses: () => [system.addresses.control],
      tls: tlsTo(directory, 'control', () => identity),
    });
    const { newest } = createApiClient(distributionRoutes, { transport: http }).directory;
    try {
      await expect(fetchDirectory(newest, file)).rejects.toMatchObject({ code: 'E_DIRECTORY' });
      // Whoever holds the same document learns of nothing.
      expect(await newest({ after: directories.sequence, held: directories.hash })).toBeUndefined();
    } finally {
      http.close();
    }
    expect(file.directory.name).toBe('fork');
  });
});

it('a directory is published by the administrator only, and only if it is newer', async () => {
  const { directories } = system.installation;
  const json = directories.signed;
  for (const node of ['control', 'distribution'] as const) {
    const publish = (caller: 'admin' | 'owner' | 'segments' | 'keys', body: object = json) =>
      system.call(node, caller, { method: 'POST', path: '/v1/directory', json: body });
    for (const caller of ['owner', 'segments', 'keys'] as const)
      expect((await publish(caller)).status, `${node} ${caller}`).toBeGreaterThanOrEqual(401);
    expect((await publish('admin')).status).toBeLessThan(300);
    expect((await publish('admin', JSON.parse(oldest))).error?.code).toBe('E_DIRECTORY');
    const changed = { ...json, directory: { ...json.directory, sequence: directories.sequence + 1 } };
    expect((await publish('admin', changed)).error?.code).toBe('E_DIRECTORY');
  }
});

describe('nodes that join through a lying source', () => {
  /** A request made on the new host, and its admission with the directory that names it. */
  async function admitted(id: string) {
    const { layout, directory } = system.installation;
    const folder = join(system.scratch, id);
    const { installation, adminKey } = directory;
    const address = { host: '127.0.0.1', port: 7_000 };
    const signed = await requestNode(
      folder,
      { installation, adminKey, role: 'distribution', id, addresses: [address] },
      { listeners: {}, random: systemRandom, now: systemClock.now() },
    );
    const { nodes } = await admitNodes({
      ...{ home: layout.home, requests: [signed], clock: systemClock, random: systemRandom },
      fingerprints: [requestFingerprint(signed.request)],
    });
    await system.installation.directories.refresh();
    return { folder, admission: parseNodeAdmission(JSON.parse(await readFile(nodes[0]?.file ?? '', 'utf8'))) };
  }

  it('a new node takes no directory that does not name it, and goes back to none', async () => {
    const { folder, admission } = await admitted('distribution-2');
    const { directories, description } = system.installation;
    const admin = await openUser(system.installation, 'admin');
    const listed = admission.directory as { directory: DirectoryDocument };
    const { sequence } = listed.directory;
    const wrong: [string, Record<string, unknown>, string][] = [
      ['older', JSON.parse(oldest), 'E_AUTH'],
      ['unsigned', { ...listed, directory: { ...listed.directory, sequence: sequence + 1 } }, 'E_DIRECTORY'],
      ['signed by another', { ...(await signDirectory(generateUserKey(), listed.directory)) }, 'E_DIRECTORY'],
    ];
    for (const [what, directory, code] of wrong) {
      await expect(acceptAdmission(folder, { ...admission, directory }), what).rejects.toMatchObject({ code });
      await expect(readFile(join(folder, nodeFiles.settings)), what).rejects.toMatchObject({ code: 'ENOENT' });
    }
    await acceptAdmission(folder, admission);
    expect((await loadNodeConfig(folder)).directories?.sequence).toBe(sequence);
    // Once it has a newer one, its own admission brings no older one back.
    const path = join(folder, nodeFiles.directory);
    const file = await openDirectory({ path, folder, anchor: description, clock: systemClock });
    await publish(system.installation, systemClock, (document) => ({ ...document, name: 'newer' }));
    expect(await file.offer(directories.signed)).toBe(true);
    await acceptAdmission(folder, admission);
    expect((await loadNodeConfig(folder)).directories?.sequence).toBe(directories.sequence);
    // Two with one number, both signed: whichever it has seen first.
    const fork = await signDirectory(admin.signer, { ...directories.signed.directory, name: 'fork' });
    admin.close();
    await expect(file.offer(fork)).rejects.toMatchObject({ code: 'E_DIRECTORY' });
    await retireNode(system.installation.layout.home, 'distribution-2', systemClock);
    await directories.refresh();
  });

  it('a new replica of the keys node takes no directory that does not list its certificate', async () => {
    const { layout, directory, directories, description } = system.installation;
    const folder = join(system.scratch, 'keys-replica');
    const { installation, adminKey } = directory;
    const cluster = { contactPoints: ['127.0.0.1'], localDataCenter: 'dc', keyspace: 'keys' };
    const node = { installation, adminKey, node: 'keys-1', replica: 'keys-1-b' };
    const request = await requestReplica(folder, node, cluster);
    const grant = await sealReplicaKeys(layout.node('keys'), request);
    const { directory: current } = directories.signed;
    const admin = await openUser(system.installation, 'admin');
    const without = (change: (node: DirectoryDocument['nodes'][number]) => object) =>
      signDirectory(admin.signer, {
        ...current,
        nodes: current.nodes.map((listed) => (listed.id === 'keys-1' ? { ...listed, ...change(listed) } : listed)),
      });
    const since = systemClock.now();
    const wrong: [string, object, string][] = [
      ['unsigned', { ...directories.signed, directory: { ...current, name: 'other' } }, 'E_DIRECTORY'],
      ['of another administrator', await signDirectory(generateUserKey(), current), 'E_DIRECTORY'],
      // Signed before or after the node had these keys.
      [
        'other certificate',
        await without(() => ({ fingerprints: [{ fingerprint: '00'.repeat(32), since }] })),
        'E_AUTH',
      ],
      [
        'other identity',
        await without(() => ({ identities: [{ key: toHex(generateP256Key().publicKey), since }] })),
        'E_SEAL',
      ],
    ];
    admin.close();
    for (const [what, lie, code] of wrong) {
      await expect(acceptReplica(folder, { ...grant, directory: lie as never }), what).rejects.toMatchObject({ code });
      await expect(readFile(join(folder, nodeFiles.settings)), what).rejects.toMatchObject({ code: 'ENOENT' });
    }
    await acceptReplica(folder, grant);
    // It refuses whatever is older from then on, whoever serves it.
    await loadNodeConfig(folder);
    const path = join(folder, nodeFiles.directory);
    const file = await openDirectory({ path, folder, anchor: description, clock: systemClock });
    await expect(fetchDirectory(async () => JSON.parse(oldest), file)).rejects.toMatchObject({ code: 'E_DIRECTORY' });
  });
});

it('a control node that withholds the newest directory, or serves an older one, does not keep nodes from it', async () => {
  const { installation, addresses, nodes } = system;
  const { layout, directory, directories } = installation;
  // A hostile control node with the real certificate: it answers nothing but requests for the directory.
  await nodes.control.close();
  const tls = await system.identity('control');
  const server = createTlsServer({ directory, tls, logger: silentLogger, bodyLimit: 1_000, guests: true });
  let lies = 0;
  let answer: object | undefined;
  server.get('/v1/directory', async (_request, reply) => {
    lies++;
    return answer === undefined ? reply.code(204).send() : answer;
  });
  const listening = await listen(server, addresses.control);
  try {
    for (const lie of [undefined, JSON.parse(oldest) as object]) {
      answer = lie;
      lies = 0;
      await publish(installation, systemClock, (document) => ({
        ...document,
        name: `after a lie ${lie === undefined}`,
      }));
      const admin = { method: 'POST', path: '/v1/directory', json: directories.signed };
      expect((await system.call('distribution', 'admin', admin)).status).toBeLessThan(300);
      for (const role of ['segments', 'keys'] as const)
        await eventually(async () => expect(await seenSequence(layout.node(role)), role).toBe(directories.sequence));
      expect(lies).toBeGreaterThan(0);
    }
  } finally {
    await listening.close();
  }
});
