import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type Bytes, copyBytes, MillraceError, toHex } from '@millrace/base';
import { hasSystemCode, makeFolder } from '@millrace/client/node';
import { sha256 } from '@millrace/protocol';
import { findSlicer } from './find-slicer.ts';

const models = /\.(stl|3mf)$/i;

/** Whether a file must be sliced before it is a design. */
export function isModel(path: string): boolean {
  return models.test(path);
}

/** The model at the time of slicing, and the profile. */
export interface ModelSource {
  readonly path: string;
  readonly size: number;
  readonly mtimeMs: number;
  /** SHA-256 in hexadecimal. */
  readonly profile: string;
}

/** A model sliced on this computer. */
export interface SlicedModel {
  /** The G-code. Removed by `remove`. */
  readonly path: string;
  /** Name and version of the slicer. */
  readonly slicer: string;
  readonly profile: string;
  readonly settings: Bytes;
  readonly source: ModelSource;
  remove(): Promise<void>;
}

export interface SliceOptions {
  readonly model: string;
  readonly profile: string;
  /** Folder of the owner on this computer: the G-code is plaintext. */
  readonly folder: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal?: AbortSignal | undefined;
  readonly progress: (percent: number) => void;
}

/**
 * Slices a model on the owner's side with an installed slicer.
 * @throws {MillraceError} E_SLICER (none is installed, or it failed, with its output), E_NOT_FOUND, E_CONFLICT
 */
export async function sliceModel(options: SliceOptions): Promise<SlicedModel> {
  const { model, profile, env, signal, progress } = options;
  const settings = await readProfile(profile);
  const source = await sourceOf(model, settings);
  const slicer = await findSlicer(profile, env, signal);
  // The name marks the folder as a preparation, so that it is swept if this process is killed.
  const folder = await mkdtemp(join(await makeFolder(options.folder), `.preparing-${process.pid}-`));
  const remove = () => rm(folder, { recursive: true, force: true });
  const output = join(folder, `${basename(model).replace(models, '')}.gcode`);
  try {
    await slicer.slice({ model, profile, output, signal, progress });
    if (((await sizeOf(output)) ?? 0) === 0) {
      throw new MillraceError('E_SLICER', `${slicer.name} wrote no G-code for ${model}`);
    }
    const after = await look(model);
    if (after.size !== source.size || after.mtimeMs !== source.mtimeMs) {
      throw new MillraceError('E_CONFLICT', `${model} changed while it was sliced`);
    }
    return { path: output, slicer: slicer.name, profile: basename(profile), settings, source, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** Identifies the model, to find out whether it was prepared before. @throws {MillraceError} E_NOT_FOUND, E_INPUT */
export async function modelSource(model: string, profile: string): Promise<ModelSource> {
  return sourceOf(model, await readProfile(profile));
}

async function sourceOf(model: string, settings: Uint8Array): Promise<ModelSource> {
  return { path: model, ...(await look(model)), profile: toHex(sha256(settings)) };
}

async function look(path: string): Promise<{ size: number; mtimeMs: number }> {
  try {
    const stats = await stat(path);
    if (!stats.isFile()) throw new MillraceError('E_INPUT', `${path} is not a file`);
    return { size: stats.size, mtimeMs: stats.mtimeMs };
  } catch (cause) {
    if (hasSystemCode(cause, 'ENOENT')) throw new MillraceError('E_NOT_FOUND', `there is no file ${path}`, { cause });
    throw cause;
  }
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (hasSystemCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

async function readProfile(path: string): Promise<Bytes> {
  try {
    return copyBytes(await readFile(path));
  } catch (cause) {
    const missing = hasSystemCode(cause, 'ENOENT');
    const what = missing ? `there is no profile ${path}` : `cannot read the profile ${path}`;
    throw new MillraceError(missing ? 'E_NOT_FOUND' : 'E_INPUT', what, { cause });
  }
}
