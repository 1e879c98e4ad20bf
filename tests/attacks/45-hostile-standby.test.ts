import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createLogger, encodeCbor, noMetrics, systemClock, systemRandom, toBase64 } from '@millrace/base';
import { admitNodes, nodeRoles, publish, retireNode, spread } from '@millrace/cli/parts';
import { auditLedger, createMemoryStorage, followLog, signNew } from '@millrace/client';
import { acceptAdmission, requestNode } from '@millrace/cloud/admin';
import { type ControlNode, loadNodeConfig, nodeFiles, openRecords } from '@millrace/cloud/parts';
import { createTlsKey, generateUserKey, keyName, openAuthority, type Party, tlsPublicKey } from '@millrace/identity';
import { parseVerifierKey } from '@millrace/ledger';
import {
  type Address,
  createHttpClient,
  parseNodeAdmission,
  requestFingerprint,
  seenSequence,
  tlsTo,
} from '@millrace/protocol';
import { answerOf, type Licensed, licensed, outcomeOf, permitted, printed } from '@millrace/testkit/adversary/honest';
import { type HostileInstallation, openHostileInstallation } from '@millrace/testkit/adversary/hostile-installation';
import { forgeOpening } from '@millrace/testkit/adversary/opening';
import { override } from '@millrace/testkit/adversary/override';
import type { TestAgent } from '@millrace/testkit/adversary/test-agent';
import { ControlKeyspace, type ControlTurn, runSharedControl, runUnasked } from '@millrace/testkit/control-keyspace';
import { freePort } from '@millrace/testkit/hosts';
import { call } from '@millrace/testkit/http';
import { order } from '@millrace/testkit/job';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';

// Row 45: of two control nodes that share a keyspace, the one on standby is hostile. It has a certificate and an
// identity of its own in the directory, the keys that control nodes share, and may write to the keyspace. What it does
// as a control node that is active, tests/adversary shows (docs/adr/0087).

const eventually = <T>(check: () => T | Promise<T>) => vi.waitFor(check, { timeout: 60_000, interval: 50 });

const log: string[] = [];
const keyspace = new ControlKeyspace();
const turns: ControlTurn[] = [];
const modules = {
  logger: createLogger('node', { level: 'debug', destination: { write: (l: string) => void log.push(l) } }),
  clock: systemClock,
  metrics: noMetrics,
};
let system: HostileInstallation;
let job: Licensed;
let agent: TestAgent;
let folder: string;
let address: Address;
/** The keyspace as the standby copied it before anything was printed. */
let before: ControlKeyspace;
let hostile: ControlNode | undefined;

const active = () => {
  const turn = turns.at(-1);
  if (turn === undefined) throw new Error('nobody is active');
  return turn;
};

/** Starts the honest control node on the keyspace that both share. */
const startHonest: typeof import('@millrace/cloud/parts').runControlNode = async (options) => {
  const count = turns.length;
  const take = (turn: ControlTurn) => void turns.push(turn);
  const member = await runSharedControl({ ...options, keyspace }, modules, take);
  await eventually(() => expect(turns.length).toBeGreaterThan(count));
  return {
    get context() {
      return active().node.context;
    },
    close: async () => member.close(),
  };
};

const spreading = () =>
  spread(system.installation, { running: async () => [...nodeRoles], restart: async () => undefined }, systemClock);

/** Admits a second control node, which gets the shared keys from the first one and stops. */
async function addStandby(): Promise<void> {
  const { installation, scratch, addresses } = system;
  const { layout, directory } = installation;
  folder = join(scratch, 'control-2');
  await mkdir(folder);
  address = { host: '127.0.0.1', port: await freePort() };
  const node = { installation: directory.installation, adminKey: directory.adminKey, role: 'control' } as const;
  const signed = await requestNode(
    folder,
    { ...node, id: 'control-2', addresses: [address] },
    { listeners: {}, random: systemRandom, now: systemClock.now(), joins: true },
  );
  const { nodes } = await admitNodes({
    ...{ home: layout.home, requests: [signed], clock: systemClock, random: systemRandom },
    fingerprints: [requestFingerprint(signed.request)],
  });
  await acceptAdmission(folder, parseNodeAdmission(JSON.parse(await readFile(nodes[0]?.file ?? '', 'utf8'))));
  await installation.directories.refresh();
  const { host, port } = addresses.control;
  await publish(installation, systemClock, (document) => ({
    ...document,
    nodes: document.nodes.map((entry) =>
      entry.id === 'control-1' ? { ...entry, addresses: [{ host, port }] } : entry,
    ),
  }));
  await spreading();
  await writeFile(join(folder, nodeFiles.directory), await readFile(layout.directory));
  const config = await loadNodeConfig(folder);
  const standby = await runSharedControl({ config, address, keyspace }, modules, (turn) => turns.push(turn));
  const own = await readFile(join(layout.node('control'), nodeFiles.permitKey));
  await eventually(async () => expect(await readFile(join(folder, nodeFiles.permitKey))).toEqual(own));
  await standby.close();
  expect(turns.map(({ id }) => id)).toEqual(['control-1']);
}

beforeAll(async () => {
  system = await openHostileInstallation({ startControl: startHonest, log });
  await addStandby();
  job = await licensed(system, 1);
  before = await keyspace.copy();
  agent = await system.agent();
}, 120_000);
afterAll(async () => {
  await hostile?.close();
  await system?.close();
});

/** What the control node at an address answers to a node of the installation. */
async function healthAt(at: Address): Promise<string> {
  const identity = await system.identity('distribution');
  const { directory } = system.installation;
  const client = createHttpClient({ addresses: () => [at], tls: tlsTo(directory, 'control', () => identity) });
  return outcomeOf(client.call('GET', '/healthz')).finally(() => client.close());
}

const audit = () => outcomeOf(auditLedger(system.owner, () => undefined));

/** Verdicts of the keys and segments nodes on a stream that the standby permits with the shared key. */
async function verdicts(lies: Parameters<typeof forgeOpening>[2]): Promise<string[]> {
  const { opening } = await forgeOpening(system, job, lies);
  const { keys, segments } = system.nodes;
  return Promise.all([keys, segments].map(({ parts }) => outcomeOf(parts.streams.open(opening))));
}

const monitored = createMemoryStorage();
const follow = ({ context: { ledger } }: ControlNode) =>
  outcomeOf(
    followLog({
      source: { checkpoint: async () => ledger.checkpoint(), tile: (path) => ledger.tile(path) },
      logKeys: [parseVerifierKey(ledger.logKey)],
      storage: monitored,
    }),
  );

it('the control: the one object of the licence is made', async () => {
  expect(await printed(system, job.licence)).toMatchObject({ state: 'completed', object: `${job.licence}-1` });
  expect(agent.runs).toHaveLength(1);
  expect(await audit()).toBe('accepted');
  expect(await follow(active().node)).toBe('accepted');
});

it('frees the object in the keyspace, so that the honest node would permit it again: its ledger refuses', async () => {
  const { ledger, records } = active().node.context;
  const { size } = ledger;
  const { claims, prints } = openRecords(keyspace.records);
  const claim = await claims.require(`${job.licence}/1`);
  await claims.remove(`${job.licence}/1`);
  const print = await order(system, system.operator, job.licence);
  await eventually(() => expect(log.some((line) => line.includes("'ordered' is not allowed"))).toBe(true));
  expect(ledger.size).toBe(size);
  expect(agent.runs).toHaveLength(1);
  // No permit has left the node.
  expect((await records.prints.require(print)).permit?.announced ?? false).toBe(false);
  // It puts back what it has changed.
  await claims.put(`${job.licence}/1`, claim);
  await prints.remove(print);
  expect(await audit()).toBe('accepted');
});

it('certifies a key of its own as the owner’s: it reads what is in the keyspace (a limit), and signs nothing', async () => {
  const { directory } = system.installation;
  const read = (name: string) => readFile(join(folder, name));
  const authority = await openAuthority(
    {
      certificate: await read(nodeFiles.userAuthority).then(String),
      key: new Uint8Array(await read(nodeFiles.userAuthorityKey)),
    },
    systemClock.now,
  );
  const key = createTlsKey();
  const name = keyName(system.owner.signer.publicKey);
  const until = systemClock.now() + 3_600_000;
  const as = async (party: Party, path: string, json?: object) => {
    const identity = { certificate: await authority.certify(party, tlsPublicKey(key), until), key };
    const request = { method: json === undefined ? 'GET' : 'POST', path, ...(json && { json }) };
    return call(system.addresses.control, directory, 'control', identity, request);
  };
  const owner = { role: 'user', name } as const;
  expect((await as(owner, `/v1/designs/${job.design}`)).status).toBe(200);
  // Who signs as the owner needs the owner's key: its own is not that of the document's signer.
  const forged = await signNew(
    { ...system.owner, signer: generateUserKey() },
    { type: 'design.delete', design: job.design },
  );
  const refused = await as(owner, '/v1/transactions', { transaction: toBase64(forged.bytes) });
  expect(refused.error?.code).toMatch(/^E_(AUTH|FORBIDDEN|SIGNATURE)$/);
  expect((await system.owner.api.design(job.design)).state).toBe('stored');
  // Nodes and machines are not certified by this authority.
  for (const party of [
    { role: 'keys', id: 'keys-1' },
    { role: 'machine', name: system.machine },
  ] as const)
    expect((await as(party, '/v1/deletions')).error?.code, party.role).toBe('E_AUTH');
});

it('takes the lease in the keyspace: the honest node stops, and nobody else can act for it (denial only)', async () => {
  const leases = keyspace.leases.collection('lease');
  const { token } = active().lease;
  const stolen = { token: token + 1, holder: 'nobody', node: 'control-2', beat: 0, takeoverMs: 600_000 };
  await leases.put('control', encodeCbor(stolen));
  const answer = () => answerOf(system.call('control', 'distribution', { method: 'GET', path: '/healthz' }));
  await eventually(async () => expect(await answer()).toBe('E_STANDBY'));
  // An administrator removes the record: the same node goes on, with a new token, and writes the ledger again.
  const count = turns.length;
  await leases.put('control', encodeCbor({ ...stolen, holder: '' }));
  await eventually(() => expect(turns.length).toBe(count + 1));
  expect(active()).toMatchObject({ id: 'control-1', lease: { token: token + 2 } });
  await eventually(async () => expect(await answer()).toBe('accepted'));
  expect(await audit()).toBe('accepted');
});

it('says that it is active, with an old copy of the keyspace, and permits the object again: the nodes refuse', async () => {
  await system.nodes.control.close();
  hostile = await runUnasked({ config: await loadNodeConfig(folder), address, keyspace: before }, modules);
  const { context } = hostile;
  // A genuine node would stop, because other nodes have seen more of the ledger than its copy has.
  override(context.quarantine, 'set', () => context.quarantine);
  override(context.records.heads, 'get', async () => ({ role: 'segments', epoch: 1_000_000 }));
  await eventually(async () => expect(await healthAt(address)).toBe('accepted'));
  expect((await context.records.licences.require(job.licence)).objects).toBe(1);
  expect(await context.records.claims.get(`${job.licence}/1`)).toBeUndefined();
  // All callers are with it now: the operator orders, the machine calls home, the permit is mailed.
  const view = await printed(system, job.licence, 60_000);
  expect(view).toMatchObject({ state: 'failed', object: `${job.licence}-1`, code: 'E_REPLAY' });
  expect(agent.runs).toHaveLength(1);
  await agent.close();
  system.nodes.control = hostile;
  // Each of the two nodes counts for itself, whatever the permit says.
  expect(await verdicts({})).toEqual(['E_REPLAY', 'E_REPLAY']);
  expect(await verdicts({ permit: { number: 2 } })).toEqual(['E_LICENCE_EXHAUSTED', 'E_LICENCE_EXHAUSTED']);
});

it('signs a ledger of its own with the shared key: people and monitors who saw the other one notice', async () => {
  if (hostile === undefined) throw new Error('it does not run');
  expect(hostile.context.ledger.size).toBeLessThan(active().node.context.ledger.size);
  expect(await audit()).toBe('E_LEDGER_TRUNCATED');
  expect(await follow(hostile)).toBe('E_LEDGER_TRUNCATED');
  // As a control node that people do not know from before, it serves them: a limit (docs/adr/0087).
  while (hostile.context.ledger.size <= active().node.context.ledger.size) await licensed(system, 1);
  expect(await audit()).toBe('E_LEDGER_PROOF');
  expect(await follow(hostile)).toBe('E_LEDGER_PROOF');
});

it('hides the directory that retires it: distribution has it, and every node leaves', async () => {
  const { installation } = system;
  const { layout, directory, directories } = installation;
  const identity = {
    certificate: await readFile(join(folder, nodeFiles.certificate), 'utf8'),
    key: new Uint8Array(await readFile(join(folder, nodeFiles.tlsKey))),
  };
  const asStandby = () =>
    call(system.addresses.distribution, directory, 'distribution', identity, {
      method: 'GET',
      path: '/v1/directory?after=0',
    });
  expect((await asStandby()).status).toBe(200);
  await retireNode(layout.home, 'control-2', systemClock);
  await directories.refresh();
  const published = { method: 'POST', path: '/v1/directory', json: directories.signed };
  expect((await system.call('distribution', 'admin', published)).status).toBeLessThan(300);
  for (const role of ['segments', 'keys'] as const)
    await eventually(async () => expect(await seenSequence(layout.node(role)), role).toBe(directories.sequence));
  expect(await healthAt(address)).not.toBe('accepted');
  expect((await asStandby()).error?.code).toBe('E_AUTH');

  // The honest node goes on from the keyspace: what the other one did is not in it.
  await hostile?.close();
  const config = await loadNodeConfig(layout.node('control'));
  system.nodes.control = await startHonest({ config, address: system.addresses.control }, modules);
  expect((await system.call('control', 'admin', published)).status).toBeLessThan(300);
  expect(await audit()).toBe('accepted');
  expect(await follow(active().node)).toBe('accepted');
  expect(await permitted(system, job)).toBe(1);
  const next = await licensed(system, 1);
  const honest = await system.agent();
  expect(await printed(system, next.licence, 60_000)).toMatchObject({ state: 'completed' });
  await honest.close();
  await system.nodes.control.close();
}, 120_000);
