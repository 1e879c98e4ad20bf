import { type Bytes, bytesOf, copyBytes, equalBytes, MillraceError } from '@millrace/base';
import { keyId } from '@millrace/identity';
import { type Directory, type MessageOf, sha256, verifyTransaction } from '@millrace/protocol';
import type { Store } from '@millrace/stores';
import { type Manifest, readManifest } from '@millrace/vault';
import { z } from 'zod';
import { Deletions } from '../node/deletions.ts';
import { Table } from '../node/table.ts';

const recordSchema = z.strictObject({ owner: bytesOf(33), manifest: z.instanceof(Uint8Array) });

/** Owner and manifest of every design, as this node verified them when the design came. */
export class DesignBook {
  readonly #table: Table<z.output<typeof recordSchema>>;
  readonly #directory: Directory;
  readonly #deletions: Deletions;

  constructor(store: Store, directory: Directory) {
    this.#table = new Table(store, 'design', recordSchema);
    this.#directory = directory;
    this.#deletions = new Deletions(store, directory);
  }

  /** @throws {MillraceError} E_SIGNATURE, E_AUTH, E_INPUT; E_CONFLICT when it is known as somebody else's */
  async add(message: MessageOf<'design.add'>): Promise<void> {
    const { design, owner } = await verifyDesign(message, this.#directory);
    await this.#deletions.requireKept(design);
    if (await this.#table.create(design, { owner, manifest: message.manifest })) return;
    if (!equalBytes((await this.#table.require(design)).owner, owner))
      throw new MillraceError('E_CONFLICT', 'the design has another owner');
  }

  /** Forgets the design at its owner's word, but not that it was deleted. @throws {MillraceError} E_NOT_FOUND, E_SIGNATURE, E_AUTH */
  async delete({ design, transaction }: MessageOf<'design.delete'>): Promise<void> {
    if (!(await this.#deletions.has(design))) {
      const { owner } = await this.#table.require(design);
      await this.#deletions.note(design, transaction, copyBytes(owner));
    }
    await this.#table.remove(design);
  }

  async holds(design: string): Promise<boolean> {
    return (await this.#table.get(design)) !== undefined;
  }

  /** @throws {MillraceError} E_DESIGN_DELETED */
  async ownerOf(design: string): Promise<Bytes | undefined> {
    await this.#deletions.requireKept(design);
    const record = await this.#table.get(design);
    return record && copyBytes(record.owner);
  }

  /** @throws {MillraceError} E_NOT_FOUND, E_DESIGN_DELETED */
  async manifestOf(design: string): Promise<Manifest> {
    await this.#deletions.requireKept(design);
    return readManifest((await this.#table.require(design)).manifest);
  }
}

/** What both proactive nodes check of a new design: the owner signed exactly this manifest. */
export async function verifyDesign(
  message: MessageOf<'design.add'>,
  directory: Directory,
): Promise<{ design: string; owner: Bytes; keysHash: Bytes }> {
  const owner = copyBytes(message.owner);
  const lookup = (id: Bytes) => (equalBytes(id, keyId(owner)) ? owner : undefined);
  const { body } = await verifyTransaction(message.transaction, directory.installation, lookup, 'any time');
  if (body.type !== 'design.add') throw new MillraceError('E_INPUT', 'not a design');
  if (!equalBytes(sha256(message.manifest), body.manifestHash))
    throw new MillraceError('E_INPUT', 'not the manifest that was signed');
  if (readManifest(message.manifest).designId !== body.design)
    throw new MillraceError('E_INPUT', 'the design’s id is not that of its manifest');
  return { design: body.design, owner, keysHash: copyBytes(body.keysHash) };
}
