import { mkdir, open as openFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bytes, MillraceError } from '@millrace/base';
import { type CommittedPhoto, committedPhotos, openCommittedPhoto } from '@millrace/client';
import { hasSystemCode } from '@millrace/client/node';
import { MAX_PHOTO_BYTES } from '@millrace/protocol';
import { formatTable } from '../output/format.ts';
import { type Context, withSession } from './context.ts';

/** Sealing and encoding. */
const MORE_BYTES = 4_096;

/**
 * Opens the sealed photos in a folder for the owner of the design. A photo counts only if a signed report of the machine
 * names it; one that a report names and the folder lacks is listed as missing.
 * @throws {MillraceError} E_CONFLICT if the target exists, E_SEAL (sealed to somebody else), E_NOT_FOUND
 */
export function open(
  context: Context,
  object: string,
  { from, to }: { readonly from: string; readonly to: string },
): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const committed = await committedPhotos(session, await session.api.object(object));
    if (committed.length === 0) throw new MillraceError('E_NOT_FOUND', `no report on ${object} names a photo`);
    const folder = context.path(from);
    const target = context.path(to);
    await makeFolder(target);
    const opened: (CommittedPhoto & { file: string; moment: string; time: string })[] = [];
    const foreign: string[] = [];
    for (const name of (await readdir(folder)).sort()) {
      const sealed = await readSealed(join(folder, name));
      const photo = sealed && (await openCommittedPhoto(session, object, committed, sealed));
      if (photo === undefined) {
        foreign.push(name);
        continue;
      }
      const { jpeg, moment, time, hash, run } = photo;
      const file = join(target, `${String(opened.length + 1).padStart(4, '0')}-${moment}.jpg`);
      await writeFile(file, jpeg, { flag: 'wx', mode: 0o600 });
      opened.push({ hash, run, file, moment, time: new Date(time).toISOString() });
    }
    const missing = committed.filter(({ hash }) => !opened.some((photo) => photo.hash === hash));
    context.terminal.result(
      {
        object,
        photos: opened.map(({ file, moment, time, hash }) => ({ file, moment, time, hash })),
        missing: missing.map(({ hash }) => hash),
        foreign,
      },
      [
        formatTable(
          ['photo', 'moment', 'time by the machine'],
          opened.map(({ file, moment, time }) => [file, moment, time]),
        ),
        ...missing.map(({ hash }) => `missing: a report names ${hash}, and the folder does not have it`),
        ...foreign.map((name) => `not of this object: no report names ${name}`),
      ].join('\n'),
    );
  });
}

async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    if (hasSystemCode(error, 'EEXIST')) throw new MillraceError('E_CONFLICT', `${path} exists: name a new folder`);
    throw error;
  }
}

/** @returns undefined for what cannot be a sealed photo */
async function readSealed(path: string): Promise<Bytes | undefined> {
  const file = await openFile(path, 'r');
  try {
    const stats = await file.stat();
    if (!stats.isFile() || stats.size > MAX_PHOTO_BYTES + MORE_BYTES) return undefined;
    return new Uint8Array(await file.readFile());
  } finally {
    await file.close();
  }
}
