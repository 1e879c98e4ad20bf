import { createHash } from 'node:crypto';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { flush, MillraceError, systemRandom, toHex } from '@millrace/base';
import { type DesignCopy, type PreparedDesign, SEALED_BYTES } from '../prepared.ts';
import { makeFolder, readBytes, writeSecret } from './files.ts';

// The owner's offline copy of a design: its manifest and its sealed segments, as uploaded. The copy cannot be opened
// without the keys node, so a thief gains no more from it than from the upload. The vault accepts nothing else for a
// repair.

const files = { manifest: 'manifest', segments: 'segments' } as const;

/** Default folder for the copies of a user with this folder. */
export function copiesFolder({ folder }: { readonly folder: string }): string {
  return join(folder, 'copies');
}

/** Stores a copy of a prepared design in `folder`/DESIGN, atomically. An existing copy is kept. */
export async function keepCopy(prepared: PreparedDesign, folder: string): Promise<string> {
  const { design, segments } = prepared.state;
  const home = join(folder, design);
  const staged = await makeFolder(join(folder, `.${design}-${toHex(systemRandom(4))}`));
  const source = await prepared.openSegments();
  try {
    const copy = await open(join(staged, files.segments), 'wx', 0o600);
    try {
      for (let segment = 0; segment < segments; segment++) await copy.writeFile(await source.read(segment));
      await copy.sync();
    } finally {
      await copy.close();
    }
    await writeSecret(join(staged, files.manifest), await prepared.manifest());
    await rename(staged, home);
    await flush(folder);
  } catch (error) {
    const there = error instanceof Error && 'code' in error && (error.code === 'ENOTEMPTY' || error.code === 'EEXIST');
    if (!there) throw error;
  } finally {
    await source.close();
    await rm(staged, { recursive: true, force: true });
  }
  return home;
}

/** @throws {MillraceError} E_CONFIG if the copy does not exist, E_SEGMENT if it is of another design */
export async function openCopy(folder: string, design: string): Promise<DesignCopy> {
  const { readManifest, segmentHash } = await import('@millrace/vault');
  const home = join(folder, design);
  const bytes = await readBytes(join(home, files.manifest));
  const manifest = readManifest(bytes);
  if (manifest.designId !== design)
    throw new MillraceError('E_SEGMENT', `${home} is not a copy of design ${design}`, { data: { design } });
  const path = join(home, files.segments);
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (cause) {
    throw new MillraceError('E_CONFIG', `cannot read ${path}`, { cause });
  }
  return {
    segments: manifest.segments,
    read: async (segment) => {
      const sealed = new Uint8Array(SEALED_BYTES);
      const { bytesRead } = await file.read(sealed, 0, SEALED_BYTES, segment * SEALED_BYTES);
      if (bytesRead !== SEALED_BYTES) throw new MillraceError('E_UPLOAD', `${path} ends before segment ${segment}`);
      const hash = createHash('sha256').update(sealed).digest();
      if (!hash.equals(segmentHash(manifest, segment)))
        throw new MillraceError('E_SEGMENT', `segment ${segment} of the copy is damaged, too`, { data: { segment } });
      return sealed;
    },
    close: () => file.close(),
  };
}
