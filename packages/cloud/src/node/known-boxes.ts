import { copyBytes, type Logger, Mutex } from '@millrace/base';
import { type BoxKey, type Directory, readBoxKey, readStoredBoxKey } from '@millrace/protocol';
import type { RecordStore } from '@millrace/stores';
import { z } from 'zod';
import { Table } from './table.ts';

const recordSchema = z.strictObject({ document: z.instanceof(Uint8Array) });

/**
 * The keys to which a node seals its mail: the newest that it has seen of each recipient, stored durably. An older key
 * is never accepted again.
 */
export class KnownBoxes {
  readonly #table: Table<z.output<typeof recordSchema>>;
  readonly #directory: Directory;
  readonly #ask: (node: string) => Promise<Uint8Array>;
  readonly #logger: Logger;
  readonly #known = new Map<string, BoxKey>();
  readonly #mutex = new Mutex();

  /**
   * @param modules.ask fetches the newest document from control; throws E_UNAVAILABLE when the recipient has not
   * announced a key yet
   */
  constructor(modules: {
    store: RecordStore;
    directory: Directory;
    ask: (node: string) => Promise<Uint8Array>;
    logger: Logger;
  }) {
    this.#table = new Table(modules.store, 'known-box', recordSchema);
    this.#directory = modules.directory;
    this.#ask = modules.ask;
    this.#logger = modules.logger;
  }

  /** @throws {MillraceError} E_UNAVAILABLE when the recipient has not announced a key yet, E_SIGNATURE */
  async of(node: string): Promise<BoxKey> {
    return this.#known.get(node) ?? this.#mutex.run(() => this.#load(node));
  }

  /** After a refusal: fetches a key newer than `refused`, unless a newer one is already known. */
  async renew(node: string, refused: number): Promise<BoxKey> {
    return this.#mutex.run(async () => {
      const known = await this.#load(node);
      return known.number > refused ? known : this.#askFor(node, known);
    });
  }

  async #load(node: string): Promise<BoxKey> {
    const known = this.#known.get(node);
    if (known !== undefined) return known;
    const record = await this.#table.get(node);
    if (record === undefined) return this.#askFor(node, undefined);
    // The key's age does not matter: it is the newest key seen, and control refuses mail to an erased key.
    const box = readStoredBoxKey(record.document);
    this.#known.set(node, box);
    return box;
  }

  async #askFor(node: string, known: BoxKey | undefined): Promise<BoxKey> {
    const document = copyBytes(await this.#ask(node));
    const box = await readBoxKey(this.#directory, { node, use: 'mail' }, document, 'any time');
    if (known !== undefined && box.number <= known.number) {
      if (box.number < known.number)
        this.#logger.warn(
          { node, number: box.number },
          'control returned an older box key than this node knows: ignored',
        );
      return known;
    }
    await this.#table.put(node, { document });
    this.#known.set(node, box);
    return box;
  }
}
