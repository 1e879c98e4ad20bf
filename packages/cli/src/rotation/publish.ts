import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, fileExists, MillraceError, sleep, writeDurably } from '@millrace/base';
import { readJson, toJsonFile } from '@millrace/client/node';
import {
  type DirectoryDocument,
  directoryFiles,
  type SignedDirectory,
  seenSequence,
  signDirectory,
  verifyDirectory,
} from '@millrace/protocol';
import { type Installation, openUser } from '../installation/open.ts';
import { machinePlaces, nodePlaces } from './places.ts';
import type { Processes } from './processes.ts';

const LOOK_MS = 100;
const TAKEN_MS = 60_000;

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
  const after = change(before);
  if (JSON.stringify(after) === JSON.stringify(before)) return;
  const admin = await openUser(installation, 'admin');
  let signed: SignedDirectory;
  try {
    signed = await signDirectory(admin.signer, { ...after, sequence: before.sequence + 1, issued: clock.now() });
  } finally {
    admin.close();
  }
  const { layout } = installation;
  await writeDurably(layout.directory, toJsonFile(signed), 0o644);
  await installation.directories.refresh();
}

/**
 * Copies the directory to the folders of nodes and machines, and waits until every running process has loaded it.
 * @throws {MillraceError} E_TIMEOUT with the process that does not
 */
export async function spread(
  installation: Installation,
  processes: Processes,
  clock: Clock,
  signal?: AbortSignal,
): Promise<void> {
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
