import { hexOf, MillraceError } from '@millrace/base';
import type { LoadedSpool } from '@millrace/protocol';
import type { RecordStore } from '@millrace/stores';
import { z } from 'zod';
import { Table } from '../node/table.ts';

const recordSchema = z.strictObject({ machine: hexOf(16), number: z.number().int().positive() });

/**
 * A proactive node's own record of spools. An operator's statement that is older than one this node has seen does not
 * count, so that a spool that was moved cannot be used on its former machine, whatever control says.
 */
export class SpoolGuard {
  readonly #spools: Table<z.output<typeof recordSchema>>;

  constructor(records: RecordStore) {
    this.#spools = new Table(records, 'spool', recordSchema);
  }

  /** @throws {MillraceError} E_MATERIAL */
  async use({
    spool: name,
    cloud,
    load: { machine, number },
  }: Pick<LoadedSpool, 'spool' | 'cloud' | 'load'>): Promise<void> {
    // A spool of another cloud may have the name of one that is loaded here.
    const spool = cloud === undefined ? name : `${cloud}/${name}`;
    for (;;) {
      if (await this.#spools.create(spool, { machine, number })) return;
      const known = await this.#spools.require(spool);
      if (number < known.number || (number === known.number && machine !== known.machine))
        throw new MillraceError('E_MATERIAL', `spool ${spool} was loaded on machine ${known.machine} later`);
      const now = await this.#spools.update(spool, (current) =>
        current.number <= number ? { machine, number } : current,
      );
      if (now.number === number) return;
    }
  }
}
