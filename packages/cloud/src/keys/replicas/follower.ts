import {
  type Bytes,
  type Closable,
  equalBytes,
  type Logger,
  MillraceError,
  sleep,
  systemRandom,
  toHex,
  wipe,
} from '@millrace/base';
import { generateP256Key, type P256Key } from '@millrace/identity';
import type { Collection, RecordStore } from '@millrace/stores';
import type { Group } from './group.ts';
import {
  type Content,
  DEFAULT_TIMES,
  digestOf,
  messageSchema,
  openContent,
  placesOf,
  type ReplicaAnswer,
  type ReplicaMessage,
  type ReplicaTimes,
  type SlotSets,
  slotFiles,
} from './messages.ts';
import type { Statements } from './statements.ts';

export interface FollowerOptions {
  readonly records: RecordStore;
  readonly statements: Statements;
  readonly group: Group;
  /** Id of this replica. */
  readonly own: string;
  readonly slots: SlotSets;
  readonly logger: Logger;
  readonly times?: Partial<ReplicaTimes> | undefined;
}

/** Applies the changes of the active replica to the slots of this one, while it is on standby. */
export class Follower implements Closable {
  readonly #options: FollowerOptions;
  readonly #times: ReplicaTimes;
  readonly #collection: Collection;
  readonly #places: ReturnType<typeof placesOf>;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #instance = '';
  /** Number of the message that was applied last. */
  #number = 0;
  #key: P256Key | undefined;
  #handled: { readonly message: Uint8Array; readonly answer: Bytes; readonly at: number } | undefined;

  constructor(options: FollowerOptions) {
    this.#options = options;
    this.#times = { ...DEFAULT_TIMES, ...options.times };
    this.#collection = options.records.collection('replicas');
    this.#places = placesOf(options.own);
    this.#running = this.#run();
  }

  /** Resolves when a message that has arrived is applied. Closes no slots. */
  async close(): Promise<void> {
    this.#stop.abort(new MillraceError('E_UNAVAILABLE', 'the replica is closing'));
    await this.#running;
    this.#key?.close();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    let failing = false;
    while (!signal.aborted) {
      try {
        await this.#step();
        failing = false;
      } catch (error) {
        if (!failing) this.#options.logger.warn({ err: error }, 'cannot follow the active replica; trying again');
        failing = true;
        await sleep(this.#times.repeatMs, signal).catch(() => undefined);
      }
      await sleep(this.#times.pollMs, signal).catch(() => undefined);
    }
  }

  async #step(): Promise<void> {
    const message = await this.#collection.get(this.#places.to);
    if (message === undefined) return;
    const { statements, group, own } = this.#options;
    const now = performance.now();
    if (this.#handled !== undefined && equalBytes(message, this.#handled.message)) {
      if (now - this.#handled.at < 2 * this.#times.repeatMs) return;
      this.#handled = { ...this.#handled, at: now };
      await this.#requireMember();
      return this.#collection.put(this.#places.from, this.#handled.answer);
    }
    const body = statements.read(messageSchema, this.#places.to, message);
    const state = await group.read();
    // Only the replica that has become active last is followed.
    if (state === undefined || body.token !== state.token || body.active !== state.active || body.active === own)
      return;
    const answer = await this.#take(body);
    const bytes = statements.make(this.#places.from, { ...answer, to: digestOf(message) });
    this.#handled = { message, answer: bytes, at: now };
    await this.#collection.put(this.#places.from, bytes);
  }

  /** @throws {MillraceError} E_STATE */
  async #requireMember(): Promise<void> {
    const { group, own } = this.#options;
    if ((await group.read())?.members.some(({ id }) => id === own) === false)
      throw new MillraceError('E_STATE', `the replica ${own} was removed: its disk has to be destroyed`);
  }

  async #take({ changes }: ReplicaMessage): Promise<Omit<ReplicaAnswer, 'to'>> {
    const key = this.#key;
    const follows = changes !== undefined && changes.instance === this.#instance && changes.number === this.#number + 1;
    if (!follows || key === undefined) {
      // A new instance: no message to an earlier one can be repeated to it.
      this.#instance = toHex(systemRandom(16));
      this.#number = 0;
      return { instance: this.#instance, number: 0, point: this.#renewKey() };
    }
    const { statements, own } = this.#options;
    const to = { of: statements.node, replica: own, instance: changes.instance, number: changes.number };
    const content = await openContent(to, key, changes.sealed);
    try {
      await this.#apply(content);
    } finally {
      wipe(...content.changes.map(([, , bytes]) => bytes));
    }
    this.#number = changes.number;
    return { instance: this.#instance, number: changes.number, point: this.#renewKey() };
  }

  #renewKey(): Bytes {
    this.#key?.close();
    this.#key = generateP256Key();
    return this.#key.publicKey.slice() as Bytes;
  }

  /** Applies changes durably. Applying them again changes nothing. */
  async #apply({ changes, counts }: Content): Promise<void> {
    const { slots } = this.#options;
    const fileOf = (file: number) => slots[slotFiles[file] as keyof SlotSets];
    for (const [file, slot, content] of changes) {
      const present = await fileOf(file).read(slot);
      const isEqual =
        content.length === 0 ? present === undefined : present !== undefined && equalBytes(present, content);
      wipe(present);
      if (isEqual) continue;
      if (content.length === 0) await fileOf(file).erase(slot);
      else await fileOf(file).write(slot, content);
    }
    for (const [file, used] of (counts ?? []).entries()) {
      const count = await fileOf(file).count();
      for (let slot = used; slot < count; slot++) await fileOf(file).erase(slot);
    }
  }
}
