import { copyBytes, type Logger, Serial } from '@millrace/base';
import { type BoxKey, type BoxRole, type Directory, readBoxKey, readStoredBoxKey } from '@millrace/protocol';
import type { Store } from '@millrace/stores';
import { z } from 'zod';
import { Table } from './table.ts';

const recordSchema = z.strictObject({ document: z.instanceof(Uint8Array) });

/** To which keys a node seals its mail: the newest of each recipient that it has seen, durably. An older one never counts again. */
export class KnownBoxes {
  readonly #table: Table<z.output<typeof recordSchema>>;
  readonly #directory: Directory;
  readonly #ask: (role: BoxRole) => Promise<Uint8Array>;
  readonly #logger: Logger;
  readonly #known = new Map<BoxRole, BoxKey>();
  readonly #serial = new Serial();

  /** @param modules.ask gets the newest document that control has; E_UNAVAILABLE when there is none yet */
  constructor(modules: {
    store: Store;
    directory: Directory;
    ask: (role: BoxRole) => Promise<Uint8Array>;
    logger: Logger;
  }) {
    this.#table = new Table(modules.store, 'known-box', recordSchema);
    this.#directory = modules.directory;
    this.#ask = modules.ask;
    this.#logger = modules.logger;
  }

  /** @throws {MillraceError} E_UNAVAILABLE when the recipient has not announced one yet, E_SIGNATURE */
  async of(role: BoxRole): Promise<BoxKey> {
    return this.#known.get(role) ?? this.#serial.run(() => this.#load(role));
  }

  /** After a refusal: asks for a newer one than `refused`, unless there is one already. */
  async renew(role: BoxRole, refused: number): Promise<BoxKey> {
    return this.#serial.run(async () => {
      const known = await this.#load(role);
      return known.number > refused ? known : this.#askFor(role, known);
    });
  }

  async #load(role: BoxRole): Promise<BoxKey> {
    const known = this.#known.get(role);
    if (known !== undefined) return known;
    const record = await this.#table.get(role);
    if (record === undefined) return this.#askFor(role, undefined);
    // Its age makes no difference: it is the newest that was seen, and control refuses mail to one that is erased.
    const box = readStoredBoxKey(record.document);
    this.#known.set(role, box);
    return box;
  }

  async #askFor(role: BoxRole, known: BoxKey | undefined): Promise<BoxKey> {
    const document = copyBytes(await this.#ask(role));
    const box = await readBoxKey(this.#directory, { role, use: 'mail' }, document, 'any time');
    if (known !== undefined && box.number <= known.number) {
      if (box.number < known.number) this.#logger.warn({ role, number: box.number }, 'an old box key was handed out');
      return known;
    }
    await this.#table.put(role, { document });
    this.#known.set(role, box);
    return box;
  }
}
