import type { Stats } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { concatBytes, MillraceError, wipe } from '@millrace/base';
import { DesignEstimator, estimateSink, SlicerNotes } from '@millrace/gcode';
import { contentKeysInfo, sha256 } from '@millrace/protocol';
import {
  type Counted,
  type Custody,
  type DesignFacts,
  type DesignKind,
  MAX_THUMBNAIL_BYTES,
  type MaintenanceMode,
  type PrivatePart,
  prepareDesign,
  requireSize,
  sealPrivatePart,
} from '@millrace/vault';
import { sealAttachment } from '../attachments.ts';
import { withSecret } from '../secret.ts';
import type { Session } from '../session.ts';
import { processIsAlive } from './alive.ts';
import { hasSystemCode } from './files.ts';
import { findPrepared, type PreparedDesign, type PreparedState, sweepPreparations, writePrepared } from './prepared.ts';
import { keepRecord } from './records.ts';

const CHUNK_BYTES = 256 * 1024;
const MAX_NAME = 200;
/** Folder of a user in which prepared designs wait for their upload. */
const UPLOADS = 'uploads';
const gcodeNames = /\.(gcode|gco|g|nc|ngc|tap)$/i;

export interface PrepareOptions {
  /** Name of the file unless told. */
  readonly name?: string | undefined;
  /** By the name of the file unless told. */
  readonly kind?: DesignKind | undefined;
  /** For binary designs: what a sink takes, at factor 1. */
  readonly bytesPerSecond?: number | undefined;
  readonly material?: string | undefined;
  /** How the vault shall renew its cells; `rekey` unless told. */
  readonly maintenance?: MaintenanceMode | undefined;
  /** Who keeps the design secret; the owner unless told. */
  readonly custody?: Custody | undefined;
  /** How this G-code was made, where this client made it. */
  readonly sliced?: Sliced | undefined;
}

export interface Sliced {
  /** Name and version of the slicer. */
  readonly slicer: string;
  /** Name of the profile, and its content. */
  readonly profile: string;
  readonly settings: Uint8Array;
  /** The model it was made from, by which a broken-off upload is found again: the G-code is temporary. */
  readonly source?: PreparedState['source'];
}

/** What an earlier, broken-off attempt left of the very same file. */
export async function findEarlier(
  session: Session,
  source: PreparedState['source'],
): Promise<PreparedDesign | undefined> {
  const uploads = join(session.user.folder, UPLOADS);
  await sweepPreparations(uploads, processIsAlive);
  return findPrepared(uploads, source);
}

/**
 * Seals a file on the owner's side: it streams through once, is timed and cut, and its segments go sealed to a folder
 * of the owner until the vault has them. What an earlier, broken-off attempt made of the same file is used again.
 * @throws {MillraceError} E_GCODE with the line, E_DESIGN_EMPTY, E_TOO_LARGE, E_NOT_FOUND, E_INPUT, E_DISK_FULL
 */
export async function prepareFile(
  session: Session,
  path: string,
  options: PrepareOptions,
  progress: (done: number, total: number) => void,
): Promise<PreparedDesign> {
  const uploads = join(session.user.folder, UPLOADS);
  const file = await openFile(path);
  try {
    const stats = await file.stat();
    if (!stats.isFile()) throw new MillraceError('E_INPUT', `${path} is not a file`);
    const source = options.sliced?.source ?? { path, size: stats.size, mtimeMs: stats.mtimeMs };
    const earlier = await findEarlier(session, source);
    if (earlier !== undefined) return earlier;
    return await sealFile(session, { file, stats, path }, source, { ...options, uploads }, progress);
  } finally {
    await file.close();
  }
}

async function sealFile(
  session: Session,
  { file, stats, path }: { readonly file: FileHandle; readonly stats: Stats; readonly path: string },
  source: PreparedState['source'],
  options: PrepareOptions & { readonly uploads: string },
  progress: (done: number, total: number) => void,
): Promise<PreparedDesign> {
  const { random, signal } = session;
  requireSize(options.maintenance, stats.size);
  const sliced = options.sliced !== undefined;
  const kind = options.kind ?? (sliced || gcodeNames.test(source.path) ? 'gcode' : 'binary');
  const name = (options.name ?? basename(source.path)).slice(0, MAX_NAME);
  const observer = await observe(kind, options);
  let part: Omit<PrivatePart, 'designSecret'> | undefined;
  const writer = await writePrepared(options.uploads, random);
  try {
    const prepared = await prepareDesign(read(file, stats.size, observer.push, progress), {
      kind,
      owner: session.signer.publicKey,
      custody: options.custody,
      random,
      sink: (_segment, sealed) => writer.append(sealed),
      describe: async (counted) => {
        const { times, ...facts } = observer.describe(counted);
        const { nonce, designSecret } = counted;
        part = { name, nonce, ...facts, ...slicedPart(options.sliced) };
        const own: PrivatePart = { ...part, designSecret };
        return {
          times,
          private: await withSecret(session.user, (secret) => sealPrivatePart(secret, own, random)),
          ...(options.maintenance && { maintenance: options.maintenance }),
        };
      },
      ...(signal === undefined ? {} : { signal }),
    });
    const { manifest, designId, segments, size, ceks, designSecret } = prepared;
    const content = options.custody === 'keys' ? concatBytes(ceks, designSecret) : ceks;
    try {
      const info = contentKeysInfo(designId, session.signer.publicKey);
      const keys = await sealAttachment(session, designId, info, content);
      await requireUnchanged(file, stats, path);
      if (part !== undefined) await keepRecord(session, designId, part, options.sliced?.settings);
      return await writer.finish({ version: 1, design: designId, name, segments, size, source }, manifest, keys);
    } finally {
      wipe(ceks, content, designSecret);
    }
  } catch (error) {
    await writer.abandon();
    throw error;
  }
}

function slicedPart(sliced: Sliced | undefined): Pick<PrivatePart, 'sliced'> {
  if (sliced === undefined) return {};
  const { slicer, profile, settings } = sliced;
  return { sliced: { slicer, profile: profile.slice(0, MAX_NAME), profileHash: sha256(settings) } };
}

type Observed = Pick<DesignFacts, 'times'> & Pick<PrivatePart, 'box' | 'material' | 'time' | 'thumbnail'>;

interface Observer {
  push(chunk: Uint8Array): void;
  describe(counted: Counted): Observed;
}

/** Times every segment while the design streams through. */
async function observe(kind: DesignKind, { bytesPerSecond, material = 'PLA' }: PrepareOptions): Promise<Observer> {
  if (kind === 'gcode') return observeGcode(material);
  if (bytesPerSecond === undefined) {
    throw new MillraceError('E_INPUT', 'a design that is not G-code needs --rate: bytes a second that the sink takes');
  }
  return {
    push: () => undefined,
    describe: ({ size }) => ({
      times: tenths(estimateSink(size, bytesPerSecond)),
      material: { name: material, milligrams: 0 },
      time: { model: Math.round((size / bytesPerSecond) * 1_000) },
    }),
  };
}

async function observeGcode(material: string): Promise<Observer> {
  const [{ ThumbnailPath }, { drawThumbnail }] = await Promise.all([
    import('@millrace/toolpath'),
    import('@millrace/toolpath/png'),
  ]);
  const kept = new ThumbnailPath();
  const notes = new SlicerNotes();
  const estimator = new DesignEstimator({ onMove: (...move) => kept.add(...move) });
  return {
    push: (chunk) => {
      estimator.push(chunk);
      notes.push(chunk);
    },
    describe: () => {
      const { times, totalSeconds, box, material: used } = estimator.finish();
      const slicer = notes.finish();
      const thumbnail = drawThumbnail(kept.path, MAX_THUMBNAIL_BYTES);
      return {
        times: tenths(times),
        box: [...box.min, ...box.max].map((millimetres) => Math.round(millimetres * 1_000)),
        material: { name: material, milligrams: Math.round(used.grams * 1_000) },
        time: {
          model: Math.round(totalSeconds * 1_000),
          ...(slicer === undefined ? {} : { slicer: Math.round(slicer * 1_000) }),
        },
        ...(thumbnail === undefined ? {} : { thumbnail }),
      };
    },
  };
}

const tenths = (seconds: readonly number[]) => seconds.map((time) => Math.round(time * 10_000));

/** One buffer for the whole file: each chunk is wiped when the next is asked for. */
async function* read(
  file: FileHandle,
  size: number,
  push: (chunk: Uint8Array) => void,
  progress: (done: number, total: number) => void,
): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(CHUNK_BYTES);
  try {
    for (let done = 0; ; ) {
      const { bytesRead } = await file.read(buffer, 0, CHUNK_BYTES, done);
      if (bytesRead === 0) return;
      const chunk = buffer.subarray(0, bytesRead);
      push(chunk);
      yield chunk;
      done += bytesRead;
      progress(done, Math.max(done, size));
    }
  } finally {
    wipe(buffer);
  }
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r');
  } catch (cause) {
    if (hasSystemCode(cause, 'ENOENT')) throw new MillraceError('E_NOT_FOUND', `there is no file ${path}`, { cause });
    throw new MillraceError('E_INPUT', `cannot read ${path}`, { cause });
  }
}

/** A slicer that is still writing would give half a part. */
async function requireUnchanged(file: FileHandle, before: Stats, path: string): Promise<void> {
  const { size, mtimeMs } = await file.stat();
  if (size !== before.size || mtimeMs !== before.mtimeMs) {
    throw new MillraceError('E_CONFLICT', `${path} changed while it was read`);
  }
}
