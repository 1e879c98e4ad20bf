import { readFile } from 'node:fs/promises';
import { request } from 'node:https';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { Closer, MemoryMetrics, silentLogger, systemClock } from '@millrace/base';
import { nodeFiles, noProcesses, retireNode, spread } from '@millrace/cli/parts';
import { loadNodeConfig } from '@millrace/cloud/parts';
import { createAuthority, type TlsIdentity } from '@millrace/identity';
import { type Address, createHttpClient, tlsTo } from '@millrace/protocol';
import { ControlKeyspace, type ControlTurn, runSharedControl } from '@millrace/testkit/control-keyspace';
import { addControl } from '@millrace/testkit/second-control';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, expect, it } from 'vitest';

// Two control nodes in one process, with their folders, keys, directory and TLS, on stores in memory that they share as
// they would share a keyspace.

const shared = new ControlKeyspace();
const closer = new Closer();
let system: TestInstallation;
/** By id. */
const places = new Map<string, { readonly folder: string; readonly address: Address }>();
/** In order. */
const turns: ControlTurn[] = [];

beforeAll(async () => {
  system = closer.add(await createTestInstallation({ start: [] }));
  const { layout } = system.installation;
  places.set('control-1', { folder: layout.node('control'), address: system.addresses.control });
  for (const id of ['control-2', 'control-3']) places.set(id, await addControl(system, id, {}));
  // The third one was admitted and retired: it has a certificate of this installation.
  await retireNode(system.home, 'control-3', systemClock);
  await system.installation.directories.refresh();
  await spread(system.installation, noProcesses, systemClock);
  await run('control-1');
  await run('control-2');
}, 120_000);
afterAll(() => closer.close());

async function run(id: string): Promise<void> {
  const { folder, address } = placeOf(id);
  const config = await loadNodeConfig(folder);
  const modules = { logger: silentLogger, clock: systemClock, metrics: new MemoryMetrics() };
  closer.add(await runSharedControl({ config, address, keyspace: shared }, modules, (turn) => turns.push(turn)));
}

function placeOf(id: string) {
  const place = places.get(id);
  if (place === undefined) throw new Error(id);
  return place;
}

const tlsOf = async (folder: string): Promise<TlsIdentity> => ({
  certificate: await readFile(join(folder, nodeFiles.certificate), 'utf8'),
  key: new Uint8Array(await readFile(join(folder, nodeFiles.tlsKey))),
});

/** What a control node answers to one request of a caller: a document, or a code. */
async function asked(id: string, caller: string, method: 'GET' | 'POST', path: string): Promise<unknown> {
  const { layout } = system.installation;
  const folder = places.get(caller)?.folder ?? layout.node(caller as 'distribution');
  return askedBy(await tlsOf(folder), id, method, path);
}

function askedBy(identity: TlsIdentity, id: string, method: 'GET' | 'POST', path: string): Promise<unknown> {
  const { authority } = system.installation.directory;
  const { host, port } = placeOf(id).address;
  const own = { ca: authority, cert: identity.certificate, key: Buffer.from(identity.key), agent: false } as const;
  return new Promise((resolve, reject) => {
    const outgoing = request({ ...own, host, port, method, path, checkServerIdentity: () => undefined }, (incoming) => {
      void json(incoming).then((document) => {
        const { code } = document as { code?: string };
        if (code === 'E_STANDBY') expect([incoming.statusCode, incoming.headers['retry-after']]).toEqual([503, '1']);
        resolve(code ?? document);
      }, reject);
    });
    outgoing.on('error', reject);
    outgoing.end();
  });
}

const health = (id: string) => asked(id, 'distribution', 'GET', '/healthz');

it('one is active, the other answers nothing, and got the keys that they share', async () => {
  expect(turns.map(({ id }) => id)).toEqual(['control-1']);
  expect(await health('control-1')).toEqual({ active: true, node: 'control-1' });
  expect(await health('control-2')).toBe('E_STANDBY');
  expect(await asked('control-2', 'distribution', 'GET', '/v1/directory')).toBe('E_STANDBY');
  const fileOf = (id: string, name: string) => readFile(join(placeOf(id).folder, name)).catch(() => undefined);
  for (const name of [nodeFiles.permitKey, nodeFiles.logKey, nodeFiles.userAuthorityKey]) {
    const own = await fileOf('control-1', name);
    expect(own?.length, name).toBeGreaterThan(31);
    await expect.poll(() => fileOf('control-2', name), { timeout: 30_000 }).toEqual(own);
  }
});

it('a node that is not admitted any more gets no keys, and no other node does', async () => {
  expect(await asked('control-1', 'control-3', 'POST', '/v1/control-keys')).toBe('E_AUTH');
  for (const role of ['distribution', 'segments', 'keys'] as const)
    expect(await asked('control-1', role, 'POST', '/v1/control-keys'), role).toBe('E_AUTH');
  // One that was never admitted has no certificate of this installation, only its own.
  const { control } = await foreignNodes();
  await expect(askedBy(control, 'control-1', 'POST', '/v1/control-keys')).rejects.toThrow();
  await expect(askedBy(control, 'control-2', 'GET', '/healthz')).rejects.toThrow();
});

async function foreignNodes() {
  const authority = await createAuthority('foreign', systemClock.now());
  return { control: await authority.issue({ role: 'control', id: 'control-2' }, ['127.0.0.1']) };
}

it('callers that know both addresses reach the active one, whichever it is', async () => {
  const { directory, layout } = system.installation;
  const identity = await tlsOf(layout.node('distribution'));
  const addresses = () => [placeOf('control-2').address, placeOf('control-1').address];
  const client = createHttpClient({ addresses, tls: tlsTo(directory, 'control', () => identity) });
  closer.add(client);
  const active = async () => JSON.parse(new TextDecoder().decode((await client.call('GET', '/healthz')).body)).node;
  expect(await active()).toBe('control-1');

  // The ports stay open through the change.
  const failures = new Set<string>();
  let changing = true;
  const watching = Promise.all(
    ['control-1', 'control-2'].map(async (id) => {
      while (changing) await health(id).catch((error: { code?: string }) => failures.add(error.code ?? ''));
    }),
  );

  // The first one loses its lease; its process goes on.
  const [first] = turns;
  first?.lease.end('the test has frozen it');
  await expect.poll(() => turns.length, { timeout: 60_000 }).toBe(2);
  const next = turns.at(-1);
  expect(next?.lease.token).toBe((first?.lease.token ?? 0) + 1);
  // Whichever node took it, the callers find it, and the other one is on standby.
  await expect.poll(active, { timeout: 60_000 }).toBe(next?.id);
  const other = next?.id === 'control-1' ? 'control-2' : 'control-1';
  await expect.poll(() => health(other), { timeout: 60_000 }).toBe('E_STANDBY');
  changing = false;
  await watching;
  failures.delete('ECONNRESET'); // calls to the node that was active
  expect([...failures]).toEqual([]);
}, 120_000);

it('an old writer with its token writes neither records nor ledger', async () => {
  const [first, next] = turns;
  if (first === undefined || next === undefined) throw new Error('there was no takeover');
  const { context } = first.node;
  const fenced = expect.objectContaining({ code: 'E_FENCED' });
  await expect(context.records.seen.put('x', { expires: 1 } as never)).rejects.toEqual(fenced);
  await expect(context.mailbox.send({ role: 'keys', partition: 'x' }, 'x', drained)).rejects.toEqual(fenced);
  // Even past its look at the lease: ledger and mail have other writers.
  const size = next.node.context.ledger.checkpoint();
  expect(first.writers).toHaveLength(2);
  for (const writer of first.writers)
    await expect(writer.append([{ put: Uint8Array.of(255), value: Uint8Array.of(1) }])).rejects.toEqual(fenced);
  expect(next.node.context.ledger.checkpoint()).toEqual(size);
  next.lease.check();
});

it('a standby that writes the ledger beside the active node is fenced when an honest one takes over', async () => {
  const hostile = await shared.ledger.acquire();
  await hostile.append([{ put: Uint8Array.of(254), value: Uint8Array.of(1) }]);
  const before = turns.length;
  const honest = turns.at(-1);
  // The active node is fenced at its next write, becomes a standby, and takes over again or the other one does.
  await expect(honest?.node.context.ledger.logMap()).rejects.toMatchObject({ code: 'E_FENCED' });
  await expect.poll(() => turns.length, { timeout: 60_000 }).toBeGreaterThan(before);
  await expect(hostile.append([{ put: Uint8Array.of(254), value: Uint8Array.of(2) }])).rejects.toMatchObject({
    code: 'E_FENCED',
  });
  turns.at(-1)?.lease.check();
}, 120_000);

const drained = { type: 'box.drained', use: 'mail', below: 1 } as const;
