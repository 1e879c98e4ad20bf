import { copyBytes, equalBytes, MillraceError, toBase64 } from '@millrace/base';
import { type BoxKey, type BoxUse, type Directory, readBoxKey, readStoredBoxKey } from '@millrace/protocol';
import type { RecordStore } from '@millrace/stores';
import { z } from 'zod';
import { Table } from '../node/table.ts';

const recordSchema = z.strictObject({
  document: z.instanceof(Uint8Array),
  /** Mail sealed to a key with a lower number is refused. */
  floor: z.number().int().nonnegative(),
});

export interface AnnouncedBox {
  readonly box: BoxKey;
  /** Signed by the node. Senders verify it before they seal. */
  readonly document: Uint8Array;
  readonly floor: number;
}

/** The newest box key that each node has announced, for each use. */
export class BoxRegistry {
  readonly #table: Table<z.output<typeof recordSchema>>;
  readonly #directory: Directory;
  readonly #known = new Map<string, AnnouncedBox>();

  constructor(store: RecordStore, directory: Directory) {
    this.#table = new Table(store, 'box', recordSchema);
    this.#directory = directory;
  }

  /** @throws {MillraceError} E_UNAVAILABLE when the node has not announced one yet */
  async newest(node: string, use: BoxUse): Promise<AnnouncedBox> {
    const name = `${node}/${use}`;
    const known = this.#known.get(name) ?? (await this.#load(name));
    if (known === undefined)
      throw new MillraceError('E_UNAVAILABLE', `the node ${node} has made no key for ${use} yet`);
    return known;
  }

  /**
   * Records a node's newest key. Durable when it resolves. The floor never decreases.
   * @throws {MillraceError} E_SIGNATURE, E_AUTH, E_INPUT; E_BOX_KEY when a newer key, or another key of the same
   * number, was announced before
   */
  async take(node: string, use: BoxUse, document: Uint8Array, floor: number): Promise<void> {
    const box = await readBoxKey(this.#directory, { node, use }, document, 'any time');
    if (floor > box.number) throw new MillraceError('E_INPUT', 'a floor above the newest key');
    const name = `${node}/${use}`;
    const known = this.#known.get(name) ?? (await this.#load(name));
    const older = known !== undefined && box.number < known.box.number;
    // A node restored to an older state may use the same number for another key.
    const another = known?.box.number === box.number && !equalBytes(known.box.point, box.point);
    if (known !== undefined && (older || another)) {
      const data = { document: toBase64(known.document) };
      throw new MillraceError('E_BOX_KEY', `the node ${node} has announced key ${known.box.number} before`, { data });
    }
    const record = { document: copyBytes(document), floor: Math.max(floor, known?.floor ?? 0) };
    await this.#table.put(name, record);
    this.#known.set(name, { box, ...record });
  }

  /** @throws {MillraceError} E_BOX_KEY when the key is erased or about to be erased */
  async requireHeld(node: string, use: BoxUse, number: number): Promise<void> {
    const { floor } = await this.newest(node, use);
    if (number >= floor) return;
    throw new MillraceError('E_BOX_KEY', `key ${number} of the node ${node} is erased`, { data: { number } });
  }

  async #load(name: string): Promise<AnnouncedBox | undefined> {
    const record = await this.#table.get(name);
    if (record === undefined) return undefined;
    const known = { ...record, box: readStoredBoxKey(record.document) };
    this.#known.set(name, known);
    return known;
  }
}
