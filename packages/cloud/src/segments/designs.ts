import { bytesOf, copyBytes, hexOf } from '@millrace/base';
import { copyOwner, type DesignAuthority, type Directory, type MessageOf } from '@millrace/protocol';
import type { RecordStore } from '@millrace/stores';
import { type Manifest, readManifest } from '@millrace/vault';
import { z } from 'zod';
import { Deletions } from '../node/deletions.ts';
import { Table } from '../node/table.ts';
import { verifyDesign } from '../node/verify-design.ts';

const recordSchema = z.strictObject({
  owner: bytesOf(33),
  organisation: hexOf(16).optional(),
  coreHash: bytesOf(32),
  manifest: z.instanceof(Uint8Array),
});

/** Owner and manifest of every design, as this node verified them when the design was added. */
export class DesignRepository {
  readonly #table: Table<z.output<typeof recordSchema>>;
  readonly #directory: Directory;
  readonly #deletions: Deletions;

  constructor(store: RecordStore, directory: Directory) {
    this.#table = new Table(store, 'design', recordSchema);
    this.#directory = directory;
    this.#deletions = new Deletions(store, directory);
  }

  /**
   * Adds a design. The same design again changes nothing. @throws {MillraceError} E_SIGNATURE, E_AUTH, E_INPUT,
   * E_FORBIDDEN
   */
  async add(message: MessageOf<'design.add'>): Promise<void> {
    const { manifest } = await verifyDesign(message, this.#directory);
    const { designId, coreHash } = manifest;
    await this.#deletions.requireKept(designId);
    await this.#table.create(designId, { ...copyOwner(manifest), coreHash, manifest: copyBytes(message.manifest) });
  }

  /**
   * Removes the design by its owner's signed deletion, which is kept. @throws {MillraceError} E_NOT_FOUND, E_SIGNATURE,
   * E_AUTH
   */
  async delete(deletion: MessageOf<'design.delete'>): Promise<void> {
    const { design } = deletion;
    if (!(await this.#deletions.has(design))) await this.#deletions.note(deletion, await this.#table.require(design));
    await this.#table.remove(design);
  }

  async holds(design: string): Promise<boolean> {
    return (await this.#table.get(design)) !== undefined;
  }

  /** @throws {MillraceError} E_DESIGN_DELETED */
  async authorityOf(design: string): Promise<DesignAuthority | undefined> {
    await this.#deletions.requireKept(design);
    const record = await this.#table.get(design);
    if (record === undefined) return undefined;
    const { approvals } = readManifest(record.manifest);
    return { ...copyOwner(record), coreHash: copyBytes(record.coreHash), approvals };
  }

  /** @throws {MillraceError} E_NOT_FOUND, E_DESIGN_DELETED */
  async manifestOf(design: string): Promise<Manifest> {
    await this.#deletions.requireKept(design);
    return readManifest((await this.#table.require(design)).manifest);
  }
}
