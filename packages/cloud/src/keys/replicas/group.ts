import { readFile } from 'node:fs/promises';
import { equalBytes, fileExists, MillraceError, Mutex, parse, writeDurably } from '@millrace/base';
import type { Collection, RecordStore } from '@millrace/stores';
import { z } from 'zod';
import type { Statements } from './statements.ts';

const uint = z.number().int().nonnegative();
/** Id of a replica, as ids of nodes. */
export const replicaId = z.string().regex(/^[a-z][a-z0-9-]{0,31}$/);

const memberSchema = z.strictObject({
  id: replicaId,
  /** Whether it has confirmed every change that was acknowledged. Only such a replica may become active. */
  inSync: z.boolean(),
  /** If it is not in sync: the oldest epoch of which it may still hold the key. Missing if it holds none. */
  oldest: uint.optional(),
});
export type Member = z.output<typeof memberSchema>;

const groupSchema = z.strictObject({
  /** Raised by each change. */
  version: uint,
  /** Token of the lease of the replica that became active last; 0 before the first one did. */
  token: uint,
  active: z.string(),
  members: z.array(memberSchema).min(1).max(7),
});
export type GroupState = z.output<typeof groupSchema>;

const PLACE = 'group';
const seenSchema = z.strictObject({ version: uint });

export interface GroupOptions {
  readonly records: RecordStore;
  readonly statements: Statements;
  /** File of this replica with the highest version that it has seen. */
  readonly seenFile: string;
}

/**
 * The replicas of a keys node, and which of them are in sync: one record of the keyspace, changed by compare-and-swap.
 * Each replica remembers the highest version that it has seen, and accepts no lower one.
 */
export class Group {
  readonly #collection: Collection;
  readonly #statements: Statements;
  readonly #seenFile: string;
  /** Reads one after the other, so that no earlier one ends after a later one. */
  readonly #reading = new Mutex();
  #seen: number;

  private constructor({ records, statements, seenFile }: GroupOptions, seen: number) {
    this.#collection = records.collection('replicas');
    this.#statements = statements;
    this.#seenFile = seenFile;
    this.#seen = seen;
  }

  /** @throws {MillraceError} E_STORE */
  static async open(options: GroupOptions): Promise<Group> {
    const { seenFile } = options;
    if (!(await fileExists(seenFile))) return new Group(options, 0);
    const text = await readFile(seenFile, 'utf8');
    return new Group(options, parse(seenSchema, JSON.parse(text), seenFile, 'E_STORE').version);
  }

  /**
   * Undefined before the first replica has made it.
   * @throws {MillraceError} E_AUTH if others have written it; E_STORE if it is older than what this replica has seen
   */
  async read(): Promise<GroupState | undefined> {
    return (await this.#read())?.state;
  }

  /** Makes the group with its first replica, if this replica has seen none. */
  async found(id: string): Promise<void> {
    if ((await this.read()) !== undefined) return;
    const state = { version: 1, token: 0, active: '', members: [{ id, inSync: true }] };
    await this.#collection.compareAndSwap(PLACE, undefined, this.#statements.make(PLACE, state));
  }

  /**
   * Changes the group. Repeats `change` if another replica was faster.
   * @param change undefined if nothing has to change; may throw
   * @returns the state after it
   * @throws {MillraceError} E_STORE, E_AUTH, E_STATE if there is no group
   */
  async change(
    change: (state: GroupState) => Pick<GroupState, 'token' | 'active' | 'members'> | undefined,
  ): Promise<GroupState> {
    for (;;) {
      const found = await this.#read();
      if (found === undefined) throw new MillraceError('E_STATE', 'this keys node has no group of replicas yet');
      const changed = change(found.state);
      if (changed === undefined) return found.state;
      const next: GroupState = { ...changed, version: found.state.version + 1 };
      const bytes = this.#statements.make(PLACE, next as never);
      await this.#collection.compareAndSwap(PLACE, found.bytes, bytes);
      const now = await this.#read();
      // An outcome that is unknown is settled by reading.
      if (now !== undefined && equalBytes(now.bytes, bytes)) return next;
    }
  }

  #read(): Promise<{ readonly bytes: Uint8Array; readonly state: GroupState } | undefined> {
    return this.#reading.run(async () => {
      const bytes = await this.#collection.get(PLACE);
      if (bytes === undefined) {
        if (this.#seen === 0) return undefined;
        throw new MillraceError('E_STORE', `the group of replicas is missing: version ${this.#seen} existed`);
      }
      const state = this.#statements.read(groupSchema, PLACE, bytes);
      await this.#remember(state.version);
      return { bytes, state };
    });
  }

  async #remember(version: number): Promise<void> {
    if (version < this.#seen)
      throw new MillraceError(
        'E_STORE',
        `the group of replicas has version ${version}, this replica has seen ${this.#seen}: the keyspace is older`,
      );
    if (version === this.#seen) return;
    await writeDurably(this.#seenFile, `${JSON.stringify({ version })}\n`);
    this.#seen = version;
  }
}

/** Whether this replica may become active. */
export function isInSync(state: GroupState | undefined, id: string): boolean {
  return state?.members.some((member) => member.id === id && member.inSync) === true;
}
