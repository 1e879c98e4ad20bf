import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock, systemRandom } from '@millrace/base';
import { admitNodes, builtEntries, format, nodeFiles, nodeOptions, publish, spread } from '@millrace/cli/parts';
import { acceptAdmission, requestNode } from '@millrace/cloud/admin';
import { type Address, parseNodeAdmission, requestFingerprint } from '@millrace/protocol';
import { freePort } from './hosts.ts';
import { Managed } from './process.ts';
import { processesOf } from './rotation.ts';
import type { TestInstallation } from './test-installation.ts';

/** A distribution node beside that of a test installation. */
export interface AnotherDistribution {
  readonly id: string;
  readonly folder: string;
  readonly address: Address;
  /** Not started. */
  readonly process: Managed;
}

/** Adds a distribution node to the directory of a running installation, with the addresses of both. */
export async function addDistribution(system: TestInstallation, id: string): Promise<AnotherDistribution> {
  const { installation, home, addresses, scratch } = system;
  const folder = join(scratch, id);
  await mkdir(folder);
  const { installation: name, adminKey } = installation.directory;
  const address: Address = { host: '127.0.0.1', port: await freePort() };
  const signed = await requestNode(
    folder,
    { installation: name, adminKey, role: 'distribution', id, addresses: [address] },
    { listeners: {}, random: systemRandom, now: systemClock.now() },
  );
  const admitted = await admitNodes({
    ...{ home, requests: [signed], clock: systemClock, random: systemRandom },
    fingerprints: [requestFingerprint(signed.request)],
  });
  const file = admitted.nodes[0]?.file ?? '';
  await acceptAdmission(folder, parseNodeAdmission(JSON.parse(await readFile(file, 'utf8'))));
  await installation.directories.refresh();
  await publish(installation, systemClock, (document) => ({
    ...document,
    nodes: document.nodes.map((node) =>
      node.id === 'distribution-1' ? { ...node, addresses: [addresses.distribution] } : node,
    ),
  }));
  await spread(installation, processesOf(system), systemClock);
  await writeFile(join(folder, nodeFiles.directory), await readFile(installation.layout.directory));
  const given = ['--control', format(addresses.control), '--distribution', format(address)];
  const spec = { name: id, entry: builtEntries.node, args: ['--folder', folder, ...given], ...nodeOptions };
  return { id, folder, address, process: new Managed(spec, join(scratch, `${id}.log`)) };
}
