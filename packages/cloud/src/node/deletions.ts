import type { ControlClient } from '@millrace/api';
import { copyBytes, type Logger, MillraceError, toMillraceError } from '@millrace/base';
import { type DesignOwner, type Directory, type MessageOf, ownerParty, verifyFor } from '@millrace/protocol';
import type { RecordStore } from '@millrace/stores';
import { z } from 'zod';
import { Table } from './table.ts';

/**
 * Fetches every deletion from control and applies those that this node does not have, because it was restored to an
 * older state. `apply` verifies the owner's signature; a deletion that does not verify is skipped.
 * @param apply throws E_NOT_FOUND when the node has no record of the design
 */
export async function catchUpDeletions(
  { control, logger }: { control: Pick<ControlClient, 'nodes'>; logger: Logger },
  apply: (deletion: MessageOf<'design.delete'>) => Promise<void>,
): Promise<void> {
  for (const deletion of await control.nodes.deletions()) {
    const { design } = deletion;
    try {
      await apply({ type: 'design.delete', ...deletion });
    } catch (error) {
      const coded = toMillraceError(error);
      if (coded.retryable) throw coded;
      if (coded.code !== 'E_NOT_FOUND') logger.warn({ err: coded, design }, 'deletion skipped: it does not verify');
    }
  }
}

/**
 * Designs that their owners have deleted. Each proactive node keeps its own list for ever, so that a replay of the old
 * `design.add`, with the content keys that were sealed to the keys node, cannot restore the design.
 */
export class Deletions {
  readonly #table: Table<{ transaction: Uint8Array }>;
  readonly #directory: Directory;

  constructor(store: RecordStore, directory: Directory) {
    this.#table = new Table(store, 'deleted', z.strictObject({ transaction: z.instanceof(Uint8Array) }));
    this.#directory = directory;
  }

  /**
   * Verifies the signature for the owner and records the deletion. Durable when it resolves.
   * @param owner the owner that this node recorded when it received the design
   * @throws {MillraceError} E_SIGNATURE, E_AUTH (another signer), E_INPUT, E_FORBIDDEN, E_EXPIRED, E_REVOKED
   */
  async note(deletion: MessageOf<'design.delete'>, owner: DesignOwner): Promise<void> {
    const { design, transaction } = deletion;
    const { body } = await verifyFor(ownerParty(owner), 'designer', deletion, this.#directory);
    if (body.type !== 'design.delete' || body.design !== design)
      throw new MillraceError('E_FORBIDDEN', 'not the owner’s deletion of this design');
    await this.#table.create(design, { transaction: copyBytes(transaction) });
  }

  async has(design: string): Promise<boolean> {
    return (await this.#table.get(design)) !== undefined;
  }

  /** @throws {MillraceError} E_DESIGN_DELETED */
  async requireKept(design: string): Promise<void> {
    if (await this.has(design))
      throw new MillraceError('E_DESIGN_DELETED', 'the owner has deleted the design', { data: { design } });
  }

  async list(): Promise<string[]> {
    const designs: string[] = [];
    for await (const [design] of this.#table.list()) designs.push(design);
    return designs;
  }
}
