import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLogger, MillraceError, systemRandom, toHex } from '@millrace/base';
import { type Collection, MemoryRecords, type RecordStore } from '@millrace/stores';
import { MemorySlots } from '@millrace/vault';
import { Follower } from '../src/keys/replicas/follower.ts';
import { Group } from '../src/keys/replicas/group.ts';
import { Leader } from '../src/keys/replicas/leader.ts';
import { type ReplicaTimes, type SlotSets, slotFiles } from '../src/keys/replicas/messages.ts';
import { Statements } from '../src/keys/replicas/statements.ts';

export const node = { installation: '00'.repeat(16), node: 'keys-1' };
export const times: Partial<ReplicaTimes> = { pollMs: 1, pulseMs: 20, groupMs: 5, repeatMs: 20 };

/** The keyspace of a keys node with several replicas. */
export class Keyspace {
  readonly records = new MemoryRecords();
  readonly kek = systemRandom(32);
  /** Everything that was ever written, by place: what somebody who copies the keyspace can have. */
  readonly written: { readonly place: string; readonly value: Uint8Array }[] = [];

  /** As one host uses it. @param before called before each request; throws when the host is dead or cut off */
  seenBy(before: (what: string) => void | Promise<void>): RecordStore {
    const collection = (name: string): Collection => {
      const all = this.records.collection(name);
      const note = (place: string, value: Uint8Array | undefined) => {
        if (value !== undefined) this.written.push({ place, value: value.slice() });
      };
      return {
        get: async (key) => {
          await before(`get ${key}`);
          return all.get(key);
        },
        put: async (key, value) => {
          await before(`put ${key}`);
          note(key, value);
          await all.put(key, value);
          await before(`after put ${key}`);
        },
        delete: async (key) => all.delete(key),
        compareAndSwap: async (key, expected, next) => {
          await before(`swap ${key}`);
          note(key, next);
          const outcome = await all.compareAndSwap(key, expected, next);
          await before(`after swap ${key}`);
          return outcome;
        },
        page: (options) => all.page(options),
      };
    };
    return { collection, collections: () => this.records.collections(), close: async () => undefined };
  }
}

/** One replica. It lives, dies, and starts again on the same slots. */
export class Host {
  readonly slots: SlotSets = {
    epoch: new MemorySlots(),
    design: new MemorySlots(),
    mail: new MemorySlots(),
    attachments: new MemorySlots(),
  };
  readonly id: string;
  readonly #keyspace: Keyspace;
  /** Time after which it takes a silent replica out, ms: short only where a test waits for it. */
  graceMs = 20_000;
  /** What it has logged. */
  readonly lines: string[] = [];
  readonly #logger = createLogger('keys', { destination: { write: (line: string) => void this.lines.push(line) } });
  #seenFile: string | undefined;
  group: Group | undefined;
  leader: Leader | undefined;
  follower: Follower | undefined;
  lease = new AbortController();
  dead = false;
  /** Called before each of its requests. */
  before: (what: string) => void | Promise<void> = () => undefined;

  constructor(id: string, keyspace: Keyspace) {
    this.id = id;
    this.#keyspace = keyspace;
  }

  async #common() {
    const life = { isDead: () => this.dead };
    const records = this.#keyspace.seenBy(async (what) => {
      await this.before(what);
      if (life.isDead()) throw new MillraceError('E_UNAVAILABLE', 'cut off');
    });
    this.#seenFile ??= join(await mkdtemp(join(tmpdir(), 'millrace-replica-')), 'seen');
    const statements = new Statements(node, this.#keyspace.kek);
    const group = await Group.open({ records, statements, seenFile: this.#seenFile });
    this.group = group;
    return {
      records,
      statements,
      group,
      own: this.id,
      slots: this.slots,
      logger: this.#logger,
      times: { ...times, graceMs: this.graceMs },
    };
  }

  async found(): Promise<void> {
    await this.#common();
    await this.group?.found(this.id);
  }

  async enrol(id: string): Promise<void> {
    await this.group?.change(({ members, ...rest }) => ({ ...rest, members: [...members, { id, inSync: false }] }));
  }

  async lead(token: number): Promise<Leader> {
    await this.follower?.close();
    this.lease = new AbortController();
    const { signal } = this.lease;
    const end = (why: string) => this.lease.abort(new MillraceError('E_FENCED', why));
    this.leader = await Leader.open({ ...(await this.#common()), lease: { token, lost: signal, end } });
    return this.leader;
  }

  async follow(): Promise<Follower> {
    this.follower = new Follower(await this.#common());
    return this.follower;
  }

  /** As a killed process: nothing that it does arrives any more. */
  async kill(): Promise<void> {
    this.dead = true;
    this.lease.abort(new MillraceError('E_FENCED', 'killed'));
    await this.leader?.close();
    await this.follower?.close();
    this.dead = false;
    this.before = () => undefined;
  }

  async content(): Promise<string> {
    const found: string[] = [];
    for (const file of slotFiles)
      for (let slot = 0; slot < (await this.slots[file].count()); slot++) {
        const bytes = await this.slots[file].read(slot);
        if (bytes !== undefined) found.push(`${file} ${slot} ${toHex(bytes)}`);
      }
    return found.join('\n');
  }

  async isInSync(id: string): Promise<boolean> {
    return (await this.group?.read())?.members.some((member) => member.id === id && member.inSync) === true;
  }
}
