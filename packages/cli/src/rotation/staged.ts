import { access, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { flush, wipe } from '@millrace/base';
import { writePublic, writeSecret } from '@millrace/client/node';
import type { TlsIdentity } from '@millrace/identity';

// What takes the place of a key lies beside it, under its name with an ending, until the directory says that it counts.

export const staged = (path: string): string => `${path}.next`;

export async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Of an earlier try that was cut short: it never counted. */
export async function discard(...paths: readonly string[]): Promise<void> {
  for (const path of paths) await erase(staged(path));
}

export async function stageSecret(path: string, secret: Uint8Array): Promise<void> {
  await discard(path);
  await writeSecret(staged(path), secret);
}

/** The certificate comes last: where it is, its key is. Wipes the key. */
export async function stageTls(
  folder: string,
  files: { readonly certificate: string; readonly tlsKey: string },
  tls: TlsIdentity,
): Promise<void> {
  await discard(join(folder, files.certificate));
  await stageSecret(join(folder, files.tlsKey), tls.key);
  wipe(tls.key);
  await writePublic(staged(join(folder, files.certificate)), tls.certificate);
}

/** Puts the staged file in its place; what was there is overwritten. May be done again. */
export async function putInPlace(path: string): Promise<boolean> {
  const next = staged(path);
  if (!(await exists(next))) return false;
  const before = (await exists(path)) ? await open(path, 'r+') : undefined;
  try {
    await rename(next, path);
    await flush(dirname(path));
    if (before !== undefined) await overwrite(before);
  } finally {
    await before?.close();
  }
  return true;
}

/** Overwrites a file where it lies, then removes it. Nothing is done when there is none. */
export async function erase(path: string): Promise<void> {
  if (!(await exists(path))) return;
  const file = await open(path, 'r+');
  await overwrite(file).finally(() => file.close());
  await rm(path);
  await flush(dirname(path));
}

async function overwrite(file: Awaited<ReturnType<typeof open>>): Promise<void> {
  const { size } = await file.stat();
  await file.write(new Uint8Array(size), 0, size, 0);
  await file.sync();
}
