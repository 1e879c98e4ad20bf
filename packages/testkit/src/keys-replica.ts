import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { builtEntries, format, nodeOptions } from '@millrace/cli/parts';
import { acceptReplica } from '@millrace/cloud/admin';
import { millrace } from './cli.ts';
import { Managed } from './process.ts';
import { folderOf, type TestInstallation } from './test-installation.ts';

/**
 * Makes another replica of the keys node by the commands of docs/several-hosts.md.
 * @param options.cluster as in the settings of the keys node
 * @returns its process, not started
 */
export async function addKeysReplica(
  system: TestInstallation,
  id: string,
  options: { readonly cluster: object; readonly within?: readonly string[] | undefined },
): Promise<Managed> {
  const { installation, addresses, scratch } = system;
  const { cluster, within = [] } = options;
  const folder = join(scratch, id);
  const [request, grant, file] = ['request', 'grant', 'cluster.json'].map((name) => join(scratch, `${id}.${name}`)) as [
    string,
    string,
    string,
  ];
  await mkdir(folder);
  await writeFile(file, JSON.stringify(cluster));
  const { installation: name, adminKey } = installation.directory;
  const run = async (home: string, ...args: readonly string[]) => {
    const { exit, json, stderr } = await millrace(home, ...args, '--json');
    if (exit !== 0) throw new Error(stderr);
    return json ?? {};
  };
  const { fingerprint } = await run(
    folder,
    ...['node', 'create', '--role', 'keys', '--id', id, '--replica-of', 'keys-1', '--cluster', file, '--out', request],
    ...['--installation', name, '--admin-key', adminKey],
  );
  const given = ['--fingerprint', String(fingerprint), '--out', grant];
  await run(folderOf(installation, 'keys'), 'node', 'replicate', request, ...given);
  await acceptReplica(folder, JSON.parse(await readFile(grant, 'utf8')));
  const at = ['--control', format(addresses.control), '--distribution', format(addresses.distribution)];
  const spec = { name: id, entry: builtEntries.node, args: ['--folder', folder, ...at], ...nodeOptions };
  return new Managed(spec, join(scratch, `${id}.log`), { within });
}
