import { type Bytes, MillraceError } from '@millrace/base';
import type { PreparedDesigns } from './prepared.ts';

/** What a user keeps from one session to the next. One suite tests every implementation. */
export interface ClientStorage {
  /** @param path names joined by "/" @returns undefined when there is none */
  read(path: string): Promise<Bytes | undefined>;
  /** Readers see the old value or the new one, never a part. */
  replace(path: string, bytes: Uint8Array): Promise<void>;
  readonly prepared: PreparedDesigns;
}

/** @throws {MillraceError} E_CONFIG when it is not JSON */
export async function readJson(storage: ClientStorage, path: string): Promise<unknown> {
  const bytes = await storage.read(path);
  if (bytes === undefined) return undefined;
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw new MillraceError('E_CONFIG', `${path} is not JSON`, { cause });
  }
}
