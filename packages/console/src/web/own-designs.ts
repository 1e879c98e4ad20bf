import type { DesignView } from '@millrace/api';
import { type PreparedDesign, readRecord } from '@millrace/client';
import { identity } from './identity.ts';
import { originFiles } from './origin-files.ts';
import { readDesigns } from './reading.ts';

export interface OwnDesigns {
  /** Under the owner's names for them, as far as this browser knows them. */
  readonly designs: readonly DesignView[];
  /** Sealed in this browser, and not stored yet. */
  readonly prepared: readonly PreparedDesign[];
}

export async function readOwnDesigns(): Promise<OwnDesigns> {
  const own = identity.value;
  const designs = await readDesigns();
  if (own === undefined) return { designs, prepared: [] };
  const storage = await originFiles(own);
  const named = designs.map(async (design) => {
    const record = await readRecord({ storage }, design.design).catch(() => undefined);
    return record === undefined ? design : { ...design, name: record.name };
  });
  return { designs: await Promise.all(named), prepared: await storage.prepared.list() };
}
