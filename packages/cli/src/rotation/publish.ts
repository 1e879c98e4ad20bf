import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, fileExists, MillraceError, sleep, systemRandom, writeDurably } from '@millrace/base';
import { publishDirectoryAt } from '@millrace/client';
import { readJson, toJsonFile } from '@millrace/client/node';
import {
  createHttpClient,
  type DirectoryDocument,
  type DirectoryNode,
  directoryFiles,
  fingerprintsOf,
  nodesOf,
  type SignedDirectory,
  seenSequence,
  signDirectory,
  verifyDirectory,
  verifySigned,
} from '@millrace/protocol';
import { type Installation, openUser } from '../installation/open.ts';
import { openSession } from '../installation/session.ts';
import { machinePlaces, nodePlaces } from './places.ts';
import type { Processes } from './processes.ts';

const LOOK_MS = 100;
const TAKEN_MS = 60_000;
const DISTRIBUTION_MS = 5_000;

/** The installation's directory document, its signature verified. */
export async function readDocument({ layout, description }: Installation): Promise<DirectoryDocument> {
  return verifyDirectory(await readJson(layout.directory), description);
}

/**
 * Signs the next directory and stores it in the installation; durable once it resolves. It does not distribute it.
 * @throws {MillraceError} E_CONFIG if the administrator's key is not here
 */
export async function publish(
  installation: Installation,
  clock: Clock,
  change: (document: DirectoryDocument) => DirectoryDocument,
): Promise<void> {
  const before = await readDocument(installation);
  await signNext(installation, clock, before, change(before));
  await installation.directories.refresh();
}

/**
 * Signs `after` as the directory that follows `before`, and stores it; durable once it resolves. Nothing is signed if
 * nothing has changed.
 * @returns the present directory
 * @throws {MillraceError} E_CONFIG if the administrator's key is not here
 */
export async function signNext(
  foundation: Pick<Installation, 'layout' | 'description'>,
  clock: Clock,
  before: DirectoryDocument | undefined,
  after: DirectoryDocument,
): Promise<SignedDirectory> {
  const { layout, description } = foundation;
  if (before !== undefined && JSON.stringify(after) === JSON.stringify(before))
    return verifySigned(await readJson(layout.directory), description);
  const admin = await openUser(foundation, 'admin');
  try {
    const numbered = { ...after, sequence: (before?.sequence ?? 0) + 1, issued: clock.now() };
    const signed = await signDirectory(admin.signer, numbered);
    await writeDurably(layout.directory, toJsonFile(signed), 0o644);
    return signed;
  } finally {
    admin.close();
  }
}

/**
 * Gives the directory to every process: copies it to the folders of nodes and machines, and waits until every running
 * process has loaded it. Nodes on hosts of their own get it from control and distribution.
 * @throws {MillraceError} E_TIMEOUT with the process that does not, E_UNAVAILABLE if control does not answer
 */
export async function spread(
  installation: Installation,
  processes: Processes,
  clock: Clock,
  signal?: AbortSignal,
): Promise<void> {
  if (nodePlaces(installation).length === 0) return publishToNodes(installation, clock, signal);
  const { sequence } = await readDocument(installation);
  const text = await readFile(installation.layout.directory, 'utf8');
  const places = [...nodePlaces(installation), ...machinePlaces(installation)];
  for (const { folder } of places) {
    const path = join(folder, directoryFiles.directory);
    if (!(await fileExists(folder)) || ((await fileExists(path)) && (await readFile(path, 'utf8')) === text)) continue;
    await writeDurably(path, text, 0o644);
  }
  const began = clock.monotonic();
  for (;;) {
    const running = new Set(await processes.running());
    const behind: string[] = [];
    for (const { name, folder } of places)
      if (running.has(name) && ((await seenSequence(folder)) ?? 0) < sequence) behind.push(name);
    if (behind.length === 0) return;
    if (clock.monotonic() - began > TAKEN_MS)
      throw new MillraceError(
        'E_TIMEOUT',
        `${behind.join(', ')} did not take directory number ${sequence}; see the log`,
      );
    await sleep(LOOK_MS, signal);
  }
}

/**
 * Gives the directory to control, then to every distribution node: these two are asked by all others.
 * @param retired nodes that the directory no longer names. A retired distribution node tells those that are connected.
 * @throws {MillraceError} the error of control, which may be hostile, after the others have it: the directory stays here
 *   and can be given again
 */
export async function publishToNodes(
  installation: Installation,
  clock: Clock,
  signal?: AbortSignal,
  retired: readonly DirectoryNode[] = [],
): Promise<void> {
  const { directory, directories } = installation;
  const session = await openSession({
    installation,
    user: 'admin',
    clock,
    random: systemRandom,
    signal,
    patienceMs: 0,
  });
  try {
    let failure: unknown;
    await session.api.publishDirectory(directories.signed).catch((error: unknown) => {
      failure = error;
    });
    for (const node of nodesOf({ nodes: [...directory.nodes, ...retired] }, 'distribution')) {
      const [address] = node.addresses;
      if (address === undefined) continue;
      const { authority } = directory;
      const pin = fingerprintsOf({ nodes: [node] }, node.id);
      const client = createHttpClient({
        addresses: () => [address],
        tls: { authority, identity: session.user.tls, pin },
      });
      try {
        await publishDirectoryAt(client, directories.signed, { timeoutMs: DISTRIBUTION_MS, signal });
      } catch {
        // It asks control within half a minute. It may be about to start, or have ended.
      } finally {
        client.close();
      }
    }
    if (failure !== undefined) throw failure;
  } finally {
    session.close();
  }
}
