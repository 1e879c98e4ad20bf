import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock, systemRandom } from '@millrace/base';
import { admitNodes, builtEntries, format, nodeFiles, nodeOptions, publish, spread } from '@millrace/cli/parts';
import { acceptAdmission, requestNode } from '@millrace/cloud/admin';
import { type Address, type NodeRole, parseNodeAdmission, requestFingerprint } from '@millrace/protocol';
import { freePort } from './hosts.ts';
import { Managed } from './process.ts';
import { processesOf } from './rotation.ts';
import type { TestInstallation } from './test-installation.ts';

/** A node to add to a test installation. */
export interface NodeChoice {
  readonly role: NodeRole;
  readonly id: string;
  /** Fields to add to its settings. */
  readonly settings?: Readonly<Record<string, unknown>> | undefined;
  /** Address of control and distribution nodes; 127.0.0.1 by default. */
  readonly host?: string | undefined;
  /** Command prefix that runs it. */
  readonly within?: readonly string[] | undefined;
}

/** A node beside those of a test installation. */
export interface AddedNode {
  readonly id: string;
  readonly folder: string;
  /** Where others reach it. Segments and keys nodes are reached by nobody. */
  readonly address: Address;
  /** Not started. */
  readonly process: Managed;
}

/** Makes nodes beside the first ones and adds them to the directory of the running installation. */
export async function addNodes(system: TestInstallation, choices: readonly NodeChoice[]): Promise<AddedNode[]> {
  const { installation, home, addresses, scratch } = system;
  const { installation: name, adminKey } = installation.directory;
  const made = await Promise.all(
    choices.map(async ({ role, id, host = '127.0.0.1' }) => {
      const folder = join(scratch, id);
      await mkdir(folder);
      const address: Address = { host, port: await freePort() };
      const served = role === 'control' || role === 'distribution';
      const signed = await requestNode(
        folder,
        { installation: name, adminKey, role, id, addresses: served ? [address] : [] },
        { listeners: {}, random: systemRandom, now: systemClock.now(), joins: role === 'control' },
      );
      return { folder, address, signed };
    }),
  );
  const admitted = await admitNodes({
    ...{ home, requests: made.map(({ signed }) => signed), clock: systemClock, random: systemRandom },
    fingerprints: made.map(({ signed }) => requestFingerprint(signed.request)),
    sharedCells: true,
  });
  for (const [i, { folder }] of made.entries()) {
    const admission = await readFile(admitted.nodes[i]?.file ?? '', 'utf8');
    await acceptAdmission(folder, parseNodeAdmission(JSON.parse(admission)));
    const path = join(folder, nodeFiles.settings);
    const json = JSON.parse(await readFile(path, 'utf8')) as object;
    await writeFile(path, JSON.stringify({ ...json, ...choices[i]?.settings }));
  }
  await installation.directories.refresh();
  // With several nodes of a role, the directory says where each one is.
  const first: Readonly<Record<string, Address>> = {
    'control-1': addresses.control,
    'distribution-1': addresses.distribution,
  };
  await publish(installation, systemClock, (document) => ({
    ...document,
    nodes: document.nodes.map((node) => {
      const address = first[node.id];
      return address === undefined ? node : { ...node, addresses: [address] };
    }),
  }));
  await spread(installation, processesOf(system), systemClock);
  return Promise.all(
    made.map(async ({ folder, address }, i) => {
      const { role, id, within = [] } = choices[i] as NodeChoice;
      await writeFile(join(folder, nodeFiles.directory), await readFile(installation.layout.directory));
      const reached = (kind: 'control' | 'distribution') => format(role === kind ? address : addresses[kind]);
      const given = ['--control', reached('control'), '--distribution', reached('distribution')];
      const spec = { name: id, entry: builtEntries.node, args: ['--folder', folder, ...given], ...nodeOptions };
      return { id, folder, address, process: new Managed(spec, join(scratch, `${id}.log`), { within }) };
    }),
  );
}
