import { createOriginStorage, type OriginFolder, type OriginStorage } from '@millrace/client/browser';
import type { Identity } from './identity-shape.ts';
import { ORIGIN_FOLDER } from './remove-origin-files.ts';

/** What this browser keeps for a person's key: sealed designs until they are stored, and the owner's names of designs. */
export async function originFiles({
  installation,
  key,
}: Pick<Identity, 'installation' | 'key'>): Promise<OriginStorage> {
  const root = await navigator.storage.getDirectory();
  const all = await root.getDirectoryHandle(ORIGIN_FOLDER, { create: true });
  const own = await all.getDirectoryHandle(`${installation}-${key}`, { create: true });
  return createOriginStorage(own as unknown as OriginFolder);
}
