import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bytes, MillraceError, parse, type RandomSource, toHex, utf8, wipe, writeDurably } from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import {
  ed25519NoteSigner,
  type NoteSigner,
  noteTypes,
  parseCheckpoint,
  parseNote,
  parseVerifierKey,
} from '@millrace/ledger';
import { z } from 'zod';

/** Contents of a witness's folder. */
export const witnessFiles = {
  settings: 'witness.json',
  /** 32 bytes, Ed25519 seed. */
  key: 'witness.key',
  /** The last checkpoint of each log that the witness signed, as signed by the log. */
  heads: 'heads',
  /** Checkpoints that a log signed and that contradict those stored here: evidence against the log. */
  forks: 'forks',
} as const;

/** Maximum number of files of evidence. One pair of checkpoints is sufficient proof. */
const MAX_FORKS = 16;

const settingsSchema = z.strictObject({
  version: z.literal(1),
  name: z.string().min(1).max(256),
  /** Verifier keys of the logs, type 0x01. A log may have several. */
  logs: z.array(z.string().max(1024)).max(1024),
});

export interface WitnessFolderOptions {
  readonly path: string;
  /** Name of the key. Required for a new folder; cannot be changed later. */
  readonly name?: string | undefined;
  /** Verifier keys of logs to add. */
  readonly logs?: readonly string[];
  readonly random: RandomSource;
}

/** A witness's durable state. */
export interface WitnessFolder {
  readonly signer: NoteSigner;
  readonly logs: readonly string[];
  /** The last stored signed checkpoints, by origin. */
  readonly heads: ReadonlyMap<string, Bytes>;
  /** Durable once it resolves. */
  storeHead(origin: string, checkpoint: Uint8Array): Promise<void>;
  storeFork(origin: string, checkpoint: Uint8Array): Promise<void>;
}

/**
 * Opens the folder, or creates it. The opener holds a lock: one process per folder.
 * @throws {MillraceError} E_INPUT for an invalid name or key; E_CONFIG for damaged files: a witness that has lost its
 *   checkpoints could sign a second history, so it does not start
 */
export async function openWitnessFolder({
  path,
  name,
  logs = [],
  random,
}: WitnessFolderOptions): Promise<WitnessFolder> {
  for (const log of logs) {
    const key = parseVerifierKey(log);
    if (key.type !== noteTypes.ed25519) throw new MillraceError('E_INPUT', `${key.name}: not the key of a log (0x01)`);
  }
  const settings = await readSettings(path);
  const keyFile = join(path, witnessFiles.key);
  if (settings === undefined) {
    if (name === undefined) throw new MillraceError('E_INPUT', `${path} is no witness yet: give it a name`);
    await createKey(keyFile, name, random);
  } else if (name !== undefined && name !== settings.name) {
    throw new MillraceError('E_CONFLICT', `the witness is named ${settings.name}; a name cannot be changed`);
  }
  const known = { version: 1, name: settings?.name ?? name ?? '', logs: settings?.logs ?? [] } as const;
  const all = [...new Set([...known.logs, ...logs])];
  if (settings === undefined || all.length > known.logs.length) {
    const file = `${JSON.stringify({ ...known, logs: all }, null, 2)}\n`;
    await writeDurably(join(path, witnessFiles.settings), file, 0o644);
  }
  const signer = await readSigner(keyFile, known.name);
  const fileOf = (origin: string) => `${toHex(sha256(utf8(origin)).subarray(0, 16))}.checkpoint`;
  return {
    signer,
    logs: all,
    heads: await readHeads(join(path, witnessFiles.heads)),
    storeHead: (origin, checkpoint) => writeDurably(join(path, witnessFiles.heads, fileOf(origin)), checkpoint, 0o644),
    storeFork: async (origin, checkpoint) => {
      const folder = join(path, witnessFiles.forks);
      if ((await namesIn(folder)).length >= MAX_FORKS) return;
      const digest = toHex(sha256(checkpoint).subarray(0, 8));
      await writeDurably(join(folder, `${digest}.${fileOf(origin)}`), checkpoint, 0o644);
    },
  };
}

async function readSettings(path: string): Promise<z.output<typeof settingsSchema> | undefined> {
  const text = await readIfThere(join(path, witnessFiles.settings));
  if (text === undefined) return undefined;
  try {
    return parse(settingsSchema, JSON.parse(text.toString('utf8')), witnessFiles.settings, 'E_CONFIG');
  } catch (cause) {
    throw new MillraceError('E_CONFIG', `${join(path, witnessFiles.settings)} is damaged`, { cause });
  }
}

/** Keeps an existing key: the process may have ended before it wrote the settings. */
async function createKey(file: string, name: string, random: RandomSource): Promise<void> {
  const secret = random(32);
  try {
    ed25519NoteSigner(name, secret); // rejects an invalid name before anything is written
    if ((await readIfThere(file)) === undefined) await writeDurably(file, secret);
  } finally {
    wipe(secret);
  }
}

async function readSigner(file: string, name: string): Promise<NoteSigner> {
  const secret = await readIfThere(file);
  if (secret === undefined) throw new MillraceError('E_CONFIG', `cannot read ${file}`);
  try {
    return ed25519NoteSigner(name, new Uint8Array(secret.buffer, secret.byteOffset, secret.length));
  } catch (cause) {
    throw new MillraceError('E_CONFIG', `${file} is damaged`, { cause });
  } finally {
    secret.fill(0);
  }
}

async function readHeads(folder: string): Promise<Map<string, Bytes>> {
  const heads = new Map<string, Bytes>();
  for (const name of await namesIn(folder)) {
    // Leftover of a crash, not committed.
    if (name.endsWith('.tmp')) continue;
    const bytes = new Uint8Array(await readFile(join(folder, name)));
    try {
      heads.set(parseCheckpoint(parseNote(bytes).text).origin, bytes);
    } catch (cause) {
      throw new MillraceError('E_CONFIG', `${join(folder, name)} is damaged`, { cause });
    }
  }
  return heads;
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}

async function readIfThere(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw new MillraceError('E_CONFIG', `cannot read ${path}`, { cause: error });
  }
}
