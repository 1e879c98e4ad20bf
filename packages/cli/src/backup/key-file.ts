import { type Bytes, concatBytes, equalBytes, MillraceError, toHex } from '@millrace/base';
import { ID_BYTES } from './archive.ts';

/**
 * The keys of backups, each in a slot that is overwritten where it lies: a backup whose key has been destroyed opens never
 * again, wherever copies of it are. Kept apart from the backups; whoever has both has what the backup holds.
 */
export interface BackupKeys {
  /** Durable when it resolves. */
  add(id: Uint8Array, secret: Uint8Array): Promise<void>;
  /** The caller wipes it. @throws {MillraceError} E_BACKUP when it was destroyed or never here */
  secretOf(id: Uint8Array): Promise<Bytes>;
  list(): Promise<string[]>;
  /** Overwrites every key, or every one but `kept`. @returns how many */
  destroy(kept?: Uint8Array): Promise<number>;
  close(): Promise<void>;
}

export async function openBackupKeys(path: string): Promise<BackupKeys> {
  const { openSlots } = await import('@millrace/vault');
  const slots = await openSlots(path);
  async function* live(): AsyncGenerator<{ slot: number; id: Bytes; content: Bytes }> {
    const count = await slots.count();
    for (let slot = 0; slot < count; slot++) {
      const content = await slots.read(slot);
      if (content !== undefined) yield { slot, id: content.slice(0, ID_BYTES), content };
    }
  }
  return {
    add: async (id, secret) => {
      let free = 0;
      while ((await slots.read(free)) !== undefined) free++;
      await slots.write(free, concatBytes(id, secret));
    },
    secretOf: async (id) => {
      for await (const entry of live()) if (equalBytes(entry.id, id)) return entry.content.slice(ID_BYTES);
      throw new MillraceError('E_BACKUP', `the key of backup ${toHex(id)} has been destroyed, or lies elsewhere`);
    },
    list: async () => {
      const ids: string[] = [];
      for await (const { id } of live()) ids.push(toHex(id));
      return ids;
    },
    destroy: async (kept) => {
      let destroyed = 0;
      for await (const { slot, id } of live()) {
        if (kept !== undefined && equalBytes(id, kept)) continue;
        await slots.erase(slot);
        destroyed++;
      }
      return destroyed;
    },
    close: () => slots.close(),
  };
}
