import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encodeCbor, noMetrics, silentLogger, systemClock, systemRandom } from '@millrace/base';
import { admitNodes, nodeRoles, publish, retireNode, spread } from '@millrace/cli/parts';
import { storeDesign } from '@millrace/client';
import { prepareFile } from '@millrace/client/node';
import { acceptAdmission, requestNode } from '@millrace/cloud/admin';
import { type DistributionNode, loadNodeConfig, nodeFiles, runDistributionNode } from '@millrace/cloud/parts';
import { encodeControl, nodesInOrder, parseNodeAdmission, requestFingerprint } from '@millrace/protocol';
import { expectTaken, type Licensed, licensed, permitted } from '@millrace/testkit/adversary/honest';
import { type HostileInstallation, openHostileInstallation } from '@millrace/testkit/adversary/hostile-installation';
import { callOf, type HostileRelay, ownRelay } from '@millrace/testkit/adversary/hostile-relay';
import type { TestAgent } from '@millrace/testkit/adversary/test-agent';
import { randomDesign } from '@millrace/testkit/designs';
import { freePort } from '@millrace/testkit/hosts';
import { order, untilEnded } from '@millrace/testkit/job';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';

// One of two distribution nodes is hostile, with its real keys: it answers every machine that there is no work, and
// tells owners that it has what it has thrown away (docs/adr/0090).

const eventually = <T>(check: () => T | Promise<T>) => vi.waitFor(check, { timeout: 60_000, interval: 50 });

let system: HostileInstallation;
let relay: HostileRelay;
let job: Licensed;
let honest: DistributionNode;

const spreading = () =>
  spread(system.installation, { running: async () => [...nodeRoles], restart: async () => undefined }, systemClock);

/** Admits a second distribution node, which is honest, and starts it in this process. */
async function addHonest(): Promise<void> {
  const { installation, scratch, addresses } = system;
  const { layout, directory } = installation;
  const folder = join(scratch, 'distribution-2');
  await mkdir(folder);
  const address = { host: '127.0.0.1', port: await freePort() };
  const signed = await requestNode(
    folder,
    {
      installation: directory.installation,
      adminKey: directory.adminKey,
      role: 'distribution',
      id: 'distribution-2',
      addresses: [address],
    },
    { listeners: {}, random: systemRandom, now: systemClock.now() },
  );
  const { nodes } = await admitNodes({
    ...{ home: layout.home, requests: [signed], clock: systemClock, random: systemRandom },
    fingerprints: [requestFingerprint(signed.request)],
  });
  await acceptAdmission(folder, parseNodeAdmission(JSON.parse(await readFile(nodes[0]?.file ?? '', 'utf8'))));
  await installation.directories.refresh();
  const { host, port } = addresses.distribution;
  await publish(installation, systemClock, (document) => ({
    ...document,
    nodes: document.nodes.map((node) =>
      node.id === 'distribution-1' ? { ...node, addresses: [{ host, port }] } : node,
    ),
  }));
  await spreading();
  await writeFile(join(folder, nodeFiles.directory), await readFile(layout.directory));
  honest = await runDistributionNode(
    { config: await loadNodeConfig(folder), addresses: { control: addresses.control, distribution: address } },
    { logger: silentLogger, clock: systemClock, metrics: noMetrics },
  );
}

beforeAll(async () => {
  system = await openHostileInstallation();
  job = await licensed(system, 3, 6);
  relay = ownRelay(system.nodes.distribution.relay);
});
afterAll(async () => {
  await honest?.close();
  await system?.close();
});

/** Answers a machine's calls for work itself: there is none. Everything else passes. @returns how often it did */
function sayNoWork(): () => number {
  let lies = 0;
  relay.meddle = (leg, bytes) => {
    const call = leg === 'from machine' ? callOf(bytes) : undefined;
    if (call?.method !== 'next') return [bytes];
    lies++;
    const nothing = encodeControl({ type: 'answer', call: call.call, body: encodeCbor({}) });
    setTimeout(() => relay.toMachine(system.machine, nothing), 20);
    return [];
  };
  return () => lies;
}

let agent: TestAgent;
let waiting: string;

it('a node that says "no work" keeps its machine idle, and costs no object', async () => {
  // Connected while it was the only node. The control: it prints.
  agent = await system.agent(undefined, { timing: { quietMs: 120_000, directoryMs: 1_000 } });
  const first = await order(system, system.operator, job.licence);
  expect(await untilEnded(system.operator, first, 60_000)).toMatchObject({ state: 'completed' });
  await addHonest();
  const lies = sayNoWork();
  await eventually(() => expect(lies()).toBeGreaterThan(0)); // the call that was under way has ended
  const before = await permitted(system, job);
  waiting = await order(system, system.operator, job.licence);
  // The limit: an agent cannot tell this from the truth, and leaves only a node that does not answer.
  const told = lies();
  await eventually(() => expect(lies()).toBeGreaterThan(told + 30));
  expect(await system.operator.api.print(waiting)).toMatchObject({ state: 'queued' });
  expect(await permitted(system, job)).toBe(before);
});

it('a node that has thrown away what it says it has costs time: the owner’s client uploads to the other one', async () => {
  const content = randomDesign(100_000);
  const file = join(system.scratch, 'upload.bin');
  await writeFile(file, content);
  const prepare = () => prepareFile(system.owner, file, { kind: 'binary', bytesPerSecond: 1e9 }, () => undefined);
  const isFirst = (design: string) => nodesInOrder(system.installation.directory, 'distribution', design)[0]?.id;
  let prepared = await prepare();
  while (isFirst(prepared.state.design) !== 'distribution-1') {
    await prepared.remove();
    prepared = await prepare();
  }
  const { uploads } = system.nodes.distribution;
  let thrown = 0;
  uploads.put = async () => void thrown++;
  uploads.have = async () => new Set(Array.from({ length: prepared.state.segments }, (_, i) => i));
  const { design } = prepared.state;
  expect(await storeDesign(system.owner, prepared, () => undefined)).toMatchObject({ design, state: 'stored' });
  // It says from the beginning that it has all: nothing was sent to it.
  expect(thrown).toBe(0);
  expect(await honest.uploads.have(design)).toEqual(new Set());
});

it('once it is retired, its machine leaves it, whatever it says', async () => {
  await retireNode(system.installation.layout.home, 'distribution-1', systemClock);
  await system.installation.directories.refresh();
  await spreading();
  expect(await untilEnded(system.operator, waiting, 60_000)).toMatchObject({ state: 'completed' });
  await agent.close();
  expectTaken(agent, job.content, job.content);
});
