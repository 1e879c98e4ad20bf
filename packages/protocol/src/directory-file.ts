import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Clock,
  type Closable,
  decodeCbor,
  encodeCbor,
  hexOf,
  type Logger,
  MillraceError,
  Mutex,
  parse,
  readJsonFile,
  toHex,
  toMillraceError,
  writeDurably,
} from '@millrace/base';
import { z } from 'zod';
import type { Directory } from './directory.ts';
import {
  type DirectoryAnchor,
  type DirectoryDocument,
  directoryAt,
  documentHash,
  type SignedDirectory,
  verifySigned,
} from './directory-document.ts';
import { stampOf } from './file-stamp.ts';
import { Revocations, withList } from './revocations.ts';

/** Files in the folder of every node, machine and user. */
export const directoryFiles = {
  directory: 'directory.json',
  /** The newest directory that was accepted. Older directories are refused. */
  seen: 'directory.seen',
  /** Every accepted list of revoked keys: a CBOR list of published lists. */
  revocations: 'revocations.cbor',
} as const;

const seenSchema = z.strictObject({ sequence: z.number().int().min(1), hash: hexOf(32) });

/** Interval at which a process checks the file for a newer directory, ms. */
const LOOK_MS = 1_000;

/** A directory in a file. It is read again when the file changes. */
export interface DirectoryFile {
  /** Always the same object. Its fields change with the document and the time. */
  readonly directory: Directory;
  /** Sequence number of the document. */
  readonly sequence: number;
  /** SHA-256 of the document in deterministic CBOR, hexadecimal. */
  readonly hash: string;
  /** The document as the administrator signed it. */
  readonly signed: SignedDirectory;
  /**
   * Accepts a newer document and drops expired entries.
   * @returns whether any entry in force has changed
   * @throws {MillraceError} E_DIRECTORY, E_CONFIG; the previous directory then stays in force
   */
  refresh(): Promise<boolean>;
  /** Calls `listener` after each change of the entries in force, wherever the newer document came from. */
  subscribe(listener: () => void): void;
  /**
   * Accepts a newer document from the network and writes it to the file.
   * @returns whether it was newer
   * @throws {MillraceError} E_DIRECTORY if it is older or not signed by the administrator; nothing changes
   */
  offer(input: unknown): Promise<boolean>;
  /** Lists of revoked keys in force. */
  readonly revocations: Revocations;
  /**
   * Accepts a newer list of revoked keys from the network and writes it to the file.
   * @returns whether it was newer
   * @throws {MillraceError} as `withList`; nothing changes
   */
  offerRevocations(published: Uint8Array): Promise<boolean>;
}

/**
 * @throws {MillraceError} E_DIRECTORY (not signed by the administrator, or older than a directory accepted before),
 *   E_CONFIG
 */
export async function openDirectory(options: {
  /** File of the signed directory. */
  readonly path: string;
  /** Folder with the record of the newest accepted directory. */
  readonly folder: string;
  readonly anchor: DirectoryAnchor;
  readonly clock: Pick<Clock, 'now'>;
}): Promise<DirectoryFile> {
  const { path, folder, anchor, clock } = options;
  const mutex = new Mutex();
  let text = await readText(path);
  let signed = await take(text, path, folder, anchor);
  let current = directoryAt(signed.directory, clock.now());
  const lists = await openRevocations(folder, anchor);
  const listeners: (() => void)[] = [];
  let stamp: string | undefined;
  const refresh = async (): Promise<boolean> => {
    const newest = await stampOf(path);
    if (newest === undefined || newest !== stamp) {
      const newer = await readText(path);
      if (newer !== text) {
        signed = await take(newer, path, folder, anchor);
        text = newer;
      }
      stamp = newest; // of the file before it was read: what came meanwhile is read next time
    }
    const next = directoryAt(signed.directory, clock.now());
    const changed = JSON.stringify(next) !== JSON.stringify(current);
    current = next;
    if (changed) for (const listener of listeners) listener();
    return changed;
  };
  return {
    directory: view(
      () => current,
      () => lists.revocations,
    ),
    get revocations() {
      return lists.revocations;
    },
    offerRevocations: lists.offerRevocations,
    get sequence() {
      return signed.directory.sequence;
    },
    get hash() {
      return toHex(documentHash(signed.directory));
    },
    get signed() {
      return signed;
    },
    refresh: () => mutex.run(refresh),
    subscribe: (listener) => void listeners.push(listener),
    offer: (input) =>
      mutex.run(async () => {
        const offered = verifySigned(input, anchor);
        if (await isTaken(offered.directory, folder)) return false;
        // Write the file first: if the process is killed here, it accepts the directory at its next start.
        await writeDurably(path, `${JSON.stringify(offered, null, 2)}\n`, 0o644);
        await refresh();
        return true;
      }),
  };
}

/**
 * The lists of revoked keys that were accepted in this folder.
 * @throws {MillraceError} E_CONFIG
 */
export async function openRevocations(
  folder: string,
  anchor: DirectoryAnchor,
): Promise<Pick<DirectoryFile, 'revocations' | 'offerRevocations'>> {
  const mutex = new Mutex();
  let revocations = await readRevocations(folder, anchor);
  return {
    get revocations() {
      return revocations;
    },
    offerRevocations: (published) =>
      mutex.run(async () => {
        const next = await withList(revocations, published, anchor);
        if (next === undefined) return false;
        // Write the file first, as for the directory.
        await writeDurably(join(folder, directoryFiles.revocations), encodeCbor(next.published() as never), 0o644);
        revocations = next;
        return true;
      }),
  };
}

/** Checks for a newer directory periodically until closed. */
export function watchDirectory(file: Pick<DirectoryFile, 'refresh'>, onChange: () => void, logger: Logger): Closable {
  let running: Promise<void> | undefined;
  let refused = '';
  const look = async () => {
    try {
      if (await file.refresh()) {
        logger.info('directory updated');
        onChange();
      }
      refused = '';
    } catch (error) {
      const coded = toMillraceError(error);
      // Log the error once, not every second.
      if (coded.message !== refused) logger.error({ err: coded }, 'directory refused');
      refused = coded.message;
    }
    running = undefined;
  };
  const timer = setInterval(() => {
    running ??= look();
  }, LOOK_MS);
  timer.unref();
  return {
    close: async () => {
      clearInterval(timer);
      await running;
    },
  };
}

/** Sequence number of the newest directory accepted in this folder; undefined if there was none. */
export async function seenSequence(folder: string): Promise<number | undefined> {
  return (await readSeen(folder))?.sequence;
}

/** @throws {MillraceError} E_CONFIG, because without the file this process would accept revoked keys */
async function readRevocations(folder: string, anchor: DirectoryAnchor): Promise<Revocations> {
  const path = join(folder, directoryFiles.revocations);
  let revocations = new Revocations();
  try {
    const lists = parse(z.array(z.instanceof(Uint8Array)), decodeCbor(await readFile(path), 'file'), 'file');
    for (const list of lists)
      revocations = (await withList(revocations, list, anchor, { stored: true })) ?? revocations;
    return revocations;
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return revocations;
    throw new MillraceError('E_CONFIG', `cannot read ${path}`, { cause });
  }
}

function view(current: () => Directory, revocations: () => Revocations): Directory {
  return {
    version: 2,
    get installation() {
      return current().installation;
    },
    get name() {
      return current().name;
    },
    get authority() {
      return current().authority;
    },
    get nodes() {
      return current().nodes;
    },
    get permitKey() {
      return current().permitKey;
    },
    get logKey() {
      return current().logKey;
    },
    get adminKey() {
      return current().adminKey;
    },
    get former() {
      return current().former ?? { permitKeys: [], logKeys: [] };
    },
    get userAuthority() {
      return current().userAuthority;
    },
    get recognised() {
      return current().recognised;
    },
    get revocations() {
      return revocations();
    },
  };
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new MillraceError('E_CONFIG', `cannot read ${path}`, { cause });
  }
}

async function take(text: string, path: string, folder: string, anchor: DirectoryAnchor): Promise<SignedDirectory> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new MillraceError('E_DIRECTORY', `${path} is not JSON`, { cause });
  }
  const signed = verifySigned(json, anchor);
  const { directory } = signed;
  if (!(await isTaken(directory, folder))) {
    const seen = { sequence: directory.sequence, hash: toHex(documentHash(directory)) };
    await writeDurably(join(folder, directoryFiles.seen), `${JSON.stringify(seen)}\n`, 0o600);
  }
  return signed;
}

/**
 * Whether this document is the newest accepted one; false if it is newer.
 * @throws {MillraceError} E_DIRECTORY if a newer document, or a different one with the same number, was accepted before
 */
async function isTaken(document: DirectoryDocument, folder: string): Promise<boolean> {
  const { sequence } = document;
  const seen = await readSeen(folder);
  if (seen?.sequence === sequence && seen.hash === toHex(documentHash(document))) return true;
  if (seen !== undefined && sequence <= seen.sequence) {
    throw new MillraceError(
      'E_DIRECTORY',
      `the directory is number ${sequence}; number ${seen.sequence} was accepted before`,
    );
  }
  return false;
}

function readSeen(folder: string): Promise<z.output<typeof seenSchema> | undefined> {
  return readJsonFile(join(folder, directoryFiles.seen), seenSchema);
}
