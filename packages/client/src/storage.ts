import { type Bytes, MillraceError } from '@millrace/base';
import type { PreparedDesigns } from './prepared.ts';

/** A user's persistent storage. One suite tests every implementation. */
export interface ClientStorage {
  /** @param path names joined by "/" @returns undefined if it does not exist */
  read(path: string): Promise<Bytes | undefined>;
  /** Atomic: readers see the old value or the new one. */
  replace(path: string, bytes: Uint8Array): Promise<void>;
  readonly prepared: PreparedDesigns;
}

/** @throws {MillraceError} E_CONFIG if it is not JSON */
export async function readJson(storage: ClientStorage, path: string): Promise<unknown> {
  const bytes = await storage.read(path);
  if (bytes === undefined) return undefined;
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw new MillraceError('E_CONFIG', `${path} is not JSON`, { cause });
  }
}
