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

/** A control node beside that of a test installation. */
export interface AnotherControl {
  readonly id: string;
  readonly folder: string;
  readonly address: Address;
  /** Not started. */
  readonly process: Managed;
}

/** Makes a control node that joins the first one, with the settings that are given in addition, and does not admit it. */
export async function requestControl(system: TestInstallation, id: string) {
  const folder = join(system.scratch, id);
  await mkdir(folder);
  const { installation, adminKey } = system.installation.directory;
  const address: Address = { host: '127.0.0.1', port: await freePort() };
  const signed = await requestNode(
    folder,
    { installation, adminKey, role: 'control', id, addresses: [address] },
    { listeners: {}, random: systemRandom, now: systemClock.now(), joins: true },
  );
  return { folder, address, signed };
}

/** Adds a control node to the directory of a running installation, with the addresses of both. */
export async function addControl(
  system: TestInstallation,
  id: string,
  settings: Readonly<Record<string, unknown>>,
): Promise<AnotherControl> {
  const { installation, home, addresses } = system;
  const { folder, address, signed } = await requestControl(system, id);
  const admitted = await admitNodes({
    ...{ home, requests: [signed], clock: systemClock, random: systemRandom },
    fingerprints: [requestFingerprint(signed.request)],
  });
  const file = admitted.nodes[0]?.file ?? '';
  await acceptAdmission(folder, parseNodeAdmission(JSON.parse(await readFile(file, 'utf8'))));
  const path = join(folder, nodeFiles.settings);
  const json = JSON.parse(await readFile(path, 'utf8')) as object;
  await writeFile(path, JSON.stringify({ ...json, ...settings }));
  await installation.directories.refresh();
  await publish(installation, systemClock, (document) => ({
    ...document,
    nodes: document.nodes.map((node) => (node.id === 'control-1' ? { ...node, addresses: [addresses.control] } : node)),
  }));
  await spread(installation, processesOf(system), systemClock);
  await writeFile(join(folder, nodeFiles.directory), await readFile(installation.layout.directory));
  const given = ['--control', format(address), '--distribution', format(addresses.distribution)];
  const spec = { name: id, entry: builtEntries.node, args: ['--folder', folder, ...given], ...nodeOptions };
  return { id, folder, address, process: new Managed(spec, join(system.scratch, `${id}.log`)) };
}
