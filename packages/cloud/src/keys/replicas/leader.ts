import {
  type Bytes,
  type Closable,
  Condition,
  copyBytes,
  type Logger,
  type Metrics,
  MillraceError,
  Mutex,
  noMetrics,
  sleep,
  wipe,
} from '@millrace/base';
import type { RecordStore } from '@millrace/stores';
import type { Slots } from '@millrace/vault';
import type { Lease } from '../../node/lease.ts';
import { type Group, type GroupState, isInSync, type Member } from './group.ts';
import { type LeadOfLink, Link, type WholeContent } from './link.ts';
import { type Change, DEFAULT_TIMES, type ReplicaTimes, type SlotFile, type SlotSets, slotFiles } from './messages.ts';
import type { Statements } from './statements.ts';

export interface LeaderOptions {
  readonly records: RecordStore;
  readonly statements: Statements;
  readonly group: Group;
  /** Id of this replica. */
  readonly own: string;
  readonly lease: Pick<Lease, 'token' | 'lost' | 'end'>;
  readonly slots: SlotSets;
  readonly logger: Logger;
  readonly metrics?: Metrics | undefined;
  readonly times?: Partial<ReplicaTimes> | undefined;
}

/** What is destroyed on every replica. */
export interface Destruction {
  /** The keys of this epoch and of all before it are destroyed everywhere. */
  readonly through: number;
  /** Replicas that are not in sync: they may hold keys that were destroyed here. */
  readonly owing: readonly string[];
}

/**
 * The slots of the active replica. A change is complete when it is durable here and at every replica that is in sync
 * (docs/adr/0094). A replica that does not answer is no longer in sync, and gets the whole content when it is back.
 */
export class Leader implements Closable {
  readonly #options: LeaderOptions;
  readonly #times: ReplicaTimes;
  readonly #stop = new AbortController();
  /** Aborted when this is closed or the lease has ended. */
  readonly #signal: AbortSignal;
  readonly #mutex = new Mutex();
  readonly #report: (destruction: Destruction) => void;
  readonly #changed = new Condition();
  readonly #links = new Map<string, Link>();
  #state: GroupState;
  /** Number of the last change. */
  #number = 0;
  /** Oldest epoch whose key is here, after the last change. */
  #oldest: number;
  #watching: Promise<void> = Promise.resolve();

  private constructor(options: LeaderOptions, state: GroupState, oldest: number) {
    this.#options = options;
    this.#times = { ...DEFAULT_TIMES, ...options.times };
    this.#state = state;
    this.#oldest = oldest;
    this.#report = reporter(options.metrics ?? noMetrics);
    this.#signal = AbortSignal.any([this.#stop.signal, options.lease.lost]);
  }

  /**
   * Takes the lead of the group.
   * @throws {MillraceError} E_STANDBY if this replica is not in sync; E_FENCED, E_AUTH, E_STORE
   */
  static async open(options: LeaderOptions): Promise<Leader> {
    const { group, own, lease, slots, logger } = options;
    const { state, oldest } = await lead({ group, own, token: lease.token, slots });
    logger.info({ replicas: state.members }, 'this replica leads the group');
    const leader = new Leader(options, state, oldest);
    leader.#adopt(state);
    leader.#watching = leader.#watch();
    return leader;
  }

  /** Slots whose changes are complete when every replica in sync has them. Closing them closes nothing. */
  slots(file: SlotFile): Slots {
    const local = this.#options.slots[file];
    return {
      read: (slot) => local.read(slot),
      count: () => local.count(),
      write: (slot, content) => this.#write(file, slot, copyBytes(content)),
      erase: (slot) => this.#write(file, slot, new Uint8Array()),
      close: async () => undefined,
    };
  }

  /** What is destroyed everywhere. */
  destruction(): Destruction {
    const others = this.#state.members.filter(({ id }) => id !== this.#options.own);
    const oldestAt = ({ id, inSync, oldest }: Member) =>
      inSync ? (this.#links.get(id)?.oldest ?? this.#oldest) : oldest;
    return {
      through: Math.max(Math.min(this.#oldest, ...others.flatMap((member) => oldestAt(member) ?? [])) - 1, 0),
      owing: others.filter((member) => !member.inSync && oldestAt(member) !== undefined).map(({ id }) => id),
    };
  }

  async close(): Promise<void> {
    this.#stop.abort(new MillraceError('E_UNAVAILABLE', 'the replica is closing'));
    await this.#watching;
    await Promise.all([...this.#links.values()].map((link) => link.close()));
  }

  async #write(file: SlotFile, slot: number, content: Bytes): Promise<void> {
    const number = await this.#mutex.run(async () => {
      this.#signal.throwIfAborted();
      const local = this.#options.slots[file];
      if (content.length === 0) await local.erase(slot);
      else await local.write(slot, content);
      const oldest = file === 'epoch' ? await oldestEpoch(local).catch(() => this.#oldest) : this.#oldest;
      // At one moment, also for links that look at both.
      this.#oldest = oldest;
      this.#number++;
      const change: Change = [slotFiles.indexOf(file), slot, content];
      for (const link of this.#links.values()) link.push(this.#number, change);
      return this.#number;
    });
    wipe(content);
    this.#changed.notify();
    const isComplete = () =>
      this.#state.members.every(
        ({ id, inSync }) => id === this.#options.own || !inSync || this.#links.get(id)?.has(number) === true,
      ) && [...this.#links.values()].every((link) => !link.joining || link.has(number));
    while (!isComplete()) await this.#changed.wait(this.#signal);
  }

  /** Follows the group, and removes what does not answer from those in sync. */
  async #watch(): Promise<void> {
    const { group, lease, logger } = this.#options;
    const { pollMs, graceMs, groupMs } = this.#times;
    for (let read = performance.now(); !this.#signal.aborted; ) {
      await sleep(pollMs, this.#signal).catch(() => undefined);
      if (this.#signal.aborted) return;
      try {
        for (const link of this.#links.values()) {
          if (link.silentMs < graceMs) continue;
          if (link.joining) link.giveUp();
          if (isInSync(this.#state, link.id)) await this.#drop(link);
        }
        if (performance.now() - read < groupMs) continue;
        read = performance.now();
        this.#report(this.destruction());
        const state = await group.read();
        if (state !== undefined) this.#adopt(state);
      } catch (error) {
        if (error instanceof MillraceError && error.code === 'E_FENCED') lease.end(error.message);
        else logger.warn({ err: error }, 'cannot read or change the group of replicas; trying again');
      }
    }
  }

  async #drop({ id, oldest = this.#oldest }: Link): Promise<void> {
    await this.#change((member) => (member.id === id && member.inSync ? { id, inSync: false, oldest } : member));
    this.#options.logger.error({ replica: id }, 'a replica does not answer: it is no longer in sync');
  }

  /** @throws {MillraceError} E_FENCED if another replica leads the group */
  async #change(change: (member: Member) => Member): Promise<void> {
    const { group, own, lease } = this.#options;
    const state = await group.change((state) => {
      this.#requireLead(state);
      return { token: lease.token, active: own, members: state.members.map(change) };
    });
    this.#adopt(state);
  }

  #requireLead({ token, active }: GroupState): void {
    const { own, lease } = this.#options;
    if (token !== lease.token || active !== own)
      throw new MillraceError('E_FENCED', `the replica ${active} leads the group, with token ${token}`);
  }

  /** Takes over the newest state of the group, unless a newer one was taken over meanwhile. */
  #adopt(state: GroupState): void {
    this.#requireLead(state);
    if (state.version < this.#state.version) return;
    this.#state = state;
    for (const { id } of state.members) if (id !== this.#options.own && !this.#links.has(id)) this.#begin(id);
    for (const link of this.#links.values())
      if (!state.members.some(({ id }) => id === link.id)) {
        this.#links.delete(link.id);
        void link.close();
      }
    this.#changed.notify();
  }

  #begin(id: string): void {
    const { own, lease, records, statements, logger } = this.#options;
    // A replica in sync may lack the change that the former active one did not complete.
    const oldest = isInSync(this.#state, id) ? Math.max(this.#oldest - 1, 0) : undefined;
    const of: LeadOfLink = {
      isInSync: (id) => isInSync(this.#state, id),
      noteHolding: (id) => this.#noteHolding(id),
      wholeContent: (begin) => this.#wholeContent(begin),
      join: (id) => this.#join(id),
      newest: () => ({ number: this.#number, oldest: this.#oldest }),
    };
    const common = { own, token: lease.token, statements, logger, changed: this.#changed, times: this.#times };
    const options = { ...common, id, oldest, lead: of, collection: records.collection('replicas') };
    this.#links.set(id, new Link(options, this.#signal));
  }

  async #noteHolding(id: string): Promise<void> {
    const oldest = this.#oldest;
    const found = this.#state.members.find((member) => member.id === id);
    if (found === undefined || found.inSync || found.oldest !== undefined) return;
    await this.#change((member) => (member.id === id && !member.inSync ? { ...member, oldest } : member));
  }

  #wholeContent(begin: () => void): Promise<WholeContent> {
    return this.#mutex.run(async () => {
      const changes: Change[] = [];
      const counts: number[] = [];
      for (const [file, name] of slotFiles.entries()) {
        const slots = this.#options.slots[name];
        const count = await slots.count();
        counts.push(count);
        for (let slot = 0; slot < count; slot++)
          changes.push([file, slot, (await slots.read(slot)) ?? new Uint8Array()]);
      }
      begin();
      return { changes, counts, upTo: this.#number };
    });
  }

  async #join(id: string): Promise<void> {
    await this.#change((member) => (member.id === id ? { id, inSync: true } : member));
    this.#options.logger.info({ replica: id }, 'a replica is in sync');
  }
}

/**
 * Writes in the group that this replica leads it. The former one has lost its lease: it may have more than this one, and
 * has to take over this one's content.
 * @param others whether the other replicas stay in sync
 * @throws {MillraceError} E_STANDBY if this replica is not in sync; E_FENCED, E_AUTH, E_STORE
 */
export async function lead(
  { group, own, token, slots }: Pick<LeaderOptions, 'group' | 'own' | 'slots'> & { readonly token: number },
  others: 'follow' | 'alone' = 'follow',
): Promise<{ readonly state: GroupState; readonly oldest: number }> {
  const oldest = await oldestEpoch(slots.epoch);
  const state = await group.change((state) => {
    if (!isInSync(state, own))
      throw new MillraceError('E_STANDBY', `the replica ${own} is not in sync: it may not become active`);
    if (state.token > token)
      throw new MillraceError('E_FENCED', `another replica was active with token ${state.token}`);
    const isOut = ({ id, inSync }: Member) => inSync && id !== own && (others === 'alone' || id === state.active);
    const members = state.members.map((member) => (isOut(member) ? { id: member.id, inSync: false, oldest } : member));
    return { token, active: own, members };
  });
  return { state, oldest };
}

function reporter(metrics: Metrics): (destruction: Destruction) => void {
  const through = metrics.gauge(
    'millrace_keys_destroyed_through_epoch',
    'Newest epoch whose keys are destroyed on every replica of the keys node',
  );
  const owing = metrics.gauge(
    'millrace_keys_replicas_owing',
    'Replicas of the keys node that are not in sync and may hold keys that have to be destroyed',
  );
  return (destruction) => {
    through.set(destruction.through);
    owing.set(destruction.owing.length);
  };
}

/** The lowest number of an epoch whose key is in the slots; 0 if there is none. */
async function oldestEpoch(slots: Slots): Promise<number> {
  let oldest: number | undefined;
  for (const slot of [0, 1]) {
    const content = await slots.read(slot);
    if (content === undefined || content.length < 4) continue;
    const epoch = new DataView(content.buffer, content.byteOffset).getUint32(0);
    oldest = Math.min(oldest ?? epoch, epoch);
  }
  return oldest ?? 0;
}
