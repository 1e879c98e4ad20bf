import { type FileHandle, open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bytes, hexOf, MillraceError, parse, type RandomSource, toHex } from '@millrace/base';
import { z } from 'zod';
import {
  hasSystemCode,
  makeFolder,
  readBytes,
  readJsonIfThere,
  toJsonFile,
  writePublic,
  writeSecret,
} from './files.ts';

/** Bytes of a sealed segment (design, section 2). */
export const SEALED_BYTES = 16_386;
/** Design bytes in it; the rest is the seal's tag. */
export const CONTENT_BYTES = SEALED_BYTES - 16;

const stateSchema = z.strictObject({
  version: z.literal(1),
  design: hexOf(16),
  name: z.string(),
  segments: z.number().int().positive(),
  size: z.number().int().positive(),
  /** The file it was made from: the same file, unchanged, goes on where an upload was broken off. */
  source: z.strictObject({
    path: z.string(),
    size: z.number(),
    mtimeMs: z.number(),
    /** SHA-256 of the profile, for a model: with another profile it is another design. */
    profile: hexOf(32).optional(),
  }),
});
export type PreparedState = z.output<typeof stateSchema>;

const files = { state: 'state.json', manifest: 'manifest', keys: 'keys', segments: 'segments' } as const;

/**
 * A sealed design on the owner's disk until the vault has it: manifest, sealed segments, and the content keys sealed
 * to the keys node. Nothing here opens without that node's key.
 */
export interface PreparedDesign {
  readonly state: PreparedState;
  /** Left by an earlier attempt: the cloud may know it already. */
  readonly earlier: boolean;
  manifest(): Promise<Bytes>;
  keys(): Promise<Bytes>;
  /** One sealed segment; `read` is safe to call many times at once. */
  openSegments(): Promise<{ read(segment: number): Promise<Bytes>; close(): Promise<void> }>;
  remove(): Promise<void>;
}

/** Writes a prepared design; it appears under its identifier only when it is whole. */
export interface PreparedWriter {
  /** Segments come in order. */
  append(sealed: Uint8Array): Promise<void>;
  finish(state: PreparedState, manifest: Uint8Array, keys: Uint8Array): Promise<PreparedDesign>;
  /** Removes what was written. */
  abandon(): Promise<void>;
}

export async function writePrepared(uploads: string, random: RandomSource): Promise<PreparedWriter> {
  const folder = await makeFolder(join(uploads, `.preparing-${process.pid}-${toHex(random(4))}`));
  const segments = await open(join(folder, files.segments), 'wx', 0o600);
  let count = 0;
  return {
    append: async (sealed) => {
      if (sealed.length !== SEALED_BYTES) {
        throw new MillraceError('E_INTERNAL', `a sealed segment has ${sealed.length} bytes`);
      }
      await writeAll(segments, sealed);
      count += 1;
    },
    finish: async (state, manifest, keys) => {
      if (count !== state.segments) throw new MillraceError('E_INTERNAL', `${count} segments of ${state.segments}`);
      await segments.sync();
      await segments.close();
      await writeSecret(join(folder, files.manifest), manifest);
      await writeSecret(join(folder, files.keys), keys);
      await writePublic(join(folder, files.state), toJsonFile(state));
      const home = join(uploads, state.design);
      await rename(folder, home);
      return preparedIn(home, state, false);
    },
    abandon: async () => {
      await segments.close().catch(() => undefined);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let offset = 0; offset < bytes.length; ) {
    offset += (await file.write(bytes, offset, bytes.length - offset)).bytesWritten;
  }
}

/** A design of this very file whose upload was broken off. */
export async function findPrepared(
  uploads: string,
  source: PreparedState['source'],
): Promise<PreparedDesign | undefined> {
  for (const entry of await entriesOf(uploads)) {
    if (!/^[0-9a-f]{32}$/.test(entry)) continue;
    const folder = join(uploads, entry);
    const json = await readJsonIfThere(join(folder, files.state));
    if (json === undefined) continue;
    const state = parse(stateSchema, json, join(folder, files.state), 'E_CONFIG');
    const same = state.source.path === source.path && state.source.size === source.size;
    const unchanged = state.source.mtimeMs === source.mtimeMs && state.source.profile === source.profile;
    if (same && unchanged) return preparedIn(folder, state, true);
  }
  return undefined;
}

/** Removes what preparations left that were killed. */
export async function sweepPreparations(uploads: string, isAlive: (pid: number) => boolean): Promise<void> {
  for (const entry of await entriesOf(uploads)) {
    const pid = /^\.preparing-(\d+)-/.exec(entry)?.[1];
    if (pid !== undefined && Number(pid) !== process.pid && !isAlive(Number(pid))) {
      await rm(join(uploads, entry), { recursive: true, force: true });
    }
  }
}

async function entriesOf(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (hasSystemCode(error, 'ENOENT')) return [];
    throw error;
  }
}

function preparedIn(folder: string, state: PreparedState, earlier: boolean): PreparedDesign {
  return {
    state,
    earlier,
    manifest: () => readBytes(join(folder, files.manifest)),
    keys: () => readBytes(join(folder, files.keys)),
    openSegments: async () => {
      const file = await open(join(folder, files.segments), 'r');
      return {
        read: async (segment) => {
          const sealed = new Uint8Array(SEALED_BYTES);
          const { bytesRead } = await file.read(sealed, 0, SEALED_BYTES, segment * SEALED_BYTES);
          if (bytesRead !== SEALED_BYTES) {
            throw new MillraceError('E_UPLOAD', `${join(folder, files.segments)} ends before segment ${segment}`);
          }
          return sealed;
        },
        close: () => file.close(),
      };
    },
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}
