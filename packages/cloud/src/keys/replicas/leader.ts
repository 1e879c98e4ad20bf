import {
  type Bytes,
  type Closable,
  Condition,
  copyBytes,
  equalBytes,
  type Logger,
  type Metrics,
  MillraceError,
  Mutex,
  noMetrics,
  sleep,
  systemRandom,
  wipe,
} from '@millrace/base';
import type { Collection, RecordStore } from '@millrace/stores';
import type { Slots } from '@millrace/vault';
import type { Lease } from '../../node/lease.ts';
import { type Group, type GroupState, isInSync, type Member } from './group.ts';
import {
  answerSchema,
  type Change,
  type Content,
  DEFAULT_TIMES,
  digestOf,
  placesOf,
  type ReplicaAnswer,
  type ReplicaTimes,
  type SlotFile,
  type SlotSets,
  sealContent,
  slotFiles,
} from './messages.ts';
import type { Statements } from './statements.ts';

/** Slots in one message. */
const MOST_CHANGES = 500;

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

/** Another replica, as the active one knows it. */
interface Link {
  readonly id: string;
  readonly stop: AbortController;
  /** Not yet confirmed; undefined until the whole content is being sent. */
  queue: { readonly number: number; readonly change: Change }[] | undefined;
  /** Every change up to this number is durable there. */
  confirmed: number;
  /** When the message that is under way was written first, ms on the monotonic clock. */
  asked: number | undefined;
  /** Oldest epoch of which it may hold the key. */
  oldest: number | undefined;
  /** Changes wait for it although it is not in sync yet. */
  joining: boolean;
  running: Promise<void>;
}

/**
 * The slots of the active replica. A change is complete when it is durable here and at every replica that is in sync
 * (docs/adr/0094). A replica that does not answer is no longer in sync, and gets the whole content when it is back.
 */
export class Leader implements Closable {
  readonly #options: LeaderOptions;
  readonly #times: ReplicaTimes;
  readonly #collection: Collection;
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
    this.#collection = options.records.collection('replicas');
    this.#state = state;
    this.#oldest = oldest;
    this.#report = reporter(options.metrics ?? noMetrics);
    this.#signal = AbortSignal.any([this.#stop.signal, options.lease.lost]);
    options.lease.lost.addEventListener('abort', () => this.#changed.notify(), { once: true });
  }

  /**
   * Takes the lead of the group.
   * @throws {MillraceError} E_STANDBY if this replica is not in sync; E_AUTH, E_STORE
   */
  static async open(options: LeaderOptions): Promise<Leader> {
    const { group, own, lease, slots, logger } = options;
    const oldest = await oldestEpoch(slots.epoch);
    const state = await group.change((state) => {
      if (!isInSync(state, own))
        throw new MillraceError('E_STANDBY', `the replica ${own} is not in sync: it may not become active`);
      if (state.token > lease.token)
        throw new MillraceError('E_FENCED', `another replica was active with token ${state.token}`);
      // The former one has lost its lease. It may have more than this one, and has to take over this one's content.
      const isFormer = (member: Member) => member.id === state.active && member.id !== own && member.inSync;
      const members = state.members.map((member) =>
        isFormer(member) ? { id: member.id, inSync: false, oldest } : member,
      );
      return { token: lease.token, active: own, members };
    });
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
    const oldest = others.flatMap((member) => this.#oldestAt(member) ?? []);
    return {
      through: Math.max(Math.min(this.#oldest, ...oldest) - 1, 0),
      owing: others.filter((member) => !member.inSync && this.#oldestAt(member) !== undefined).map(({ id }) => id),
    };
  }

  async close(): Promise<void> {
    this.#stop.abort(new MillraceError('E_UNAVAILABLE', 'the replica is closing'));
    this.#changed.notify();
    await this.#watching;
    await Promise.all([...this.#links.values()].map((link) => this.#end(link)));
  }

  async #write(file: SlotFile, slot: number, content: Bytes): Promise<void> {
    const number = await this.#mutex.run(async () => {
      this.#signal.throwIfAborted();
      const local = this.#options.slots[file];
      if (content.length === 0) await local.erase(slot);
      else await local.write(slot, content);
      this.#number++;
      if (file === 'epoch') this.#oldest = await oldestEpoch(local);
      for (const { queue } of this.#links.values())
        queue?.push({ number: this.#number, change: [slotFiles.indexOf(file), slot, copyBytes(content)] });
      return this.#number;
    });
    wipe(content);
    this.#changed.notify();
    const hasIt = (id: string) => (this.#links.get(id)?.confirmed ?? -1) >= number;
    const isComplete = () =>
      this.#state.members.every(({ id, inSync }) => id === this.#options.own || !inSync || hasIt(id)) &&
      [...this.#links.values()].every(({ id, joining }) => !joining || hasIt(id));
    while (!isComplete()) await this.#changed.wait(this.#signal);
  }

  /** Follows the group, and removes what does not answer from those in sync. */
  async #watch(): Promise<void> {
    const { group, lease, logger } = this.#options;
    const { pollMs, graceMs, groupMs } = this.#times;
    for (let read = performance.now(); !this.#signal.aborted; ) {
      await sleep(pollMs, this.#signal).catch(() => undefined);
      if (this.#signal.aborted) return;
      const now = performance.now();
      try {
        for (const link of this.#links.values()) {
          if (link.asked === undefined || now - link.asked < graceMs) continue;
          if (link.joining) this.#giveUp(link);
          if (isInSync(this.#state, link.id)) await this.#drop(link.id);
        }
        if (now - read < groupMs) continue;
        read = now;
        this.#report(this.destruction());
        const state = await group.read();
        if (state !== undefined) this.#adopt(state);
      } catch (error) {
        if (error instanceof MillraceError && error.code === 'E_FENCED') lease.end(error.message);
        else logger.warn({ err: error }, 'cannot read or change the group of replicas; trying again');
      }
    }
  }

  async #drop(id: string): Promise<void> {
    const link = this.#links.get(id);
    await this.#change((members) =>
      members.map((member) =>
        member.id === id && member.inSync ? { id, inSync: false, oldest: link?.oldest ?? this.#oldest } : member,
      ),
    );
    this.#options.logger.error({ replica: id }, 'a replica does not answer: it is no longer in sync');
  }

  /** @throws {MillraceError} E_FENCED if another replica leads the group */
  async #change(change: (members: readonly Member[]) => Member[]): Promise<void> {
    const { group, own, lease } = this.#options;
    const state = await group.change((state) => {
      this.#requireLead(state);
      return { token: lease.token, active: own, members: change(state.members) };
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
        void this.#end(link);
      }
    this.#changed.notify();
  }

  #begin(id: string): void {
    const stop = new AbortController();
    const common = { queue: undefined, confirmed: -1, asked: undefined, joining: false };
    // A replica in sync may lack the change that the former active one did not complete.
    const oldest = isInSync(this.#state, id) ? Math.max(this.#oldest - 1, 0) : undefined;
    const link: Link = { ...common, id, stop, oldest, running: Promise.resolve() };
    this.#links.set(id, link);
    link.running = this.#run(link, AbortSignal.any([this.#signal, stop.signal]));
  }

  async #end(link: Link): Promise<void> {
    link.stop.abort(new MillraceError('E_UNAVAILABLE', 'the replica was removed, or this one is closing'));
    await link.running;
    forget(link);
  }

  /** Changes no longer wait for a replica that was about to be in sync. */
  #giveUp(link: Link): void {
    link.joining = false;
    this.#changed.notify();
  }

  async #run(link: Link, signal: AbortSignal): Promise<void> {
    const { logger } = this.#options;
    while (!signal.aborted) {
      try {
        await this.#serve(link, signal);
      } catch (error) {
        if (signal.aborted) return;
        logger.warn({ err: error, replica: link.id }, 'a replica begins anew');
        this.#giveUp(link);
        await sleep(this.#times.pollMs, signal).catch(() => undefined);
      }
    }
  }

  /** One instance of the other replica: the whole content, then every change. @throws when it begins anew */
  async #serve(link: Link, signal: AbortSignal): Promise<void> {
    forget(link);
    let { instance, point } = await this.#ask(link, undefined, signal);
    let number = 0;
    const send = async (content: Content) => {
      number++;
      const to = { of: this.#options.statements.node, replica: link.id, instance, number };
      const sealed = await sealContent(to, point, content);
      const answer = await this.#ask(link, { instance, number, sealed }, signal);
      if (answer.instance !== instance || answer.number !== number)
        throw new MillraceError('E_STATE', `the replica ${link.id} has started again`);
      point = answer.point;
    };
    await this.#noteHolding(link);
    const { changes, counts, upTo } = await this.#wholeContent(link);
    try {
      for (let at = 0; at === 0 || at < changes.length; at += MOST_CHANGES) {
        const isLast = at + MOST_CHANGES >= changes.length;
        await send({ changes: changes.slice(at, at + MOST_CHANGES), ...(isLast && { counts }) });
      }
    } finally {
      wipe(...changes.map(([, , content]) => content));
    }
    this.#confirm(link, upTo);
    for (;;) {
      if (!isInSync(this.#state, link.id)) {
        // First no change is complete without it, then it must have all that were: then it is in sync.
        link.joining = true;
        if (link.queue?.length === 0) await this.#join(link);
      }
      if (link.queue?.length === 0) await this.#pause(link, signal);
      const some = link.queue?.slice(0, MOST_CHANGES) ?? [];
      await send({ changes: some.map(({ change }) => change) });
      link.queue?.splice(0, some.length);
      wipe(...some.map(({ change }) => change[2]));
      this.#confirm(link, some.at(-1)?.number ?? link.confirmed);
    }
  }

  /** Waits for the next change, or until the other replica's key has to be renewed. */
  async #pause(link: Link, signal: AbortSignal): Promise<void> {
    const pulse = AbortSignal.any([signal, AbortSignal.timeout(this.#times.pulseMs)]);
    while (link.queue?.length === 0 && !pulse.aborted) await this.#changed.wait(pulse).catch(() => undefined);
    signal.throwIfAborted();
  }

  /** Before a replica that is not in sync gets keys, the group says so. */
  async #noteHolding({ id }: Link): Promise<void> {
    const oldest = this.#oldest;
    const found = this.#state.members.find((member) => member.id === id);
    if (found === undefined || found.inSync || found.oldest !== undefined) return;
    await this.#change((members) =>
      members.map((member) => (member.id === id && !member.inSync ? { ...member, oldest } : member)),
    );
  }

  /** Everything that has been written, at one moment. From then on, the link queues changes. */
  #wholeContent(link: Link): Promise<{ changes: Change[]; counts: number[]; upTo: number }> {
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
      link.queue = [];
      return { changes, counts, upTo: this.#number };
    });
  }

  /** Adds a replica that has confirmed everything to those in sync. */
  async #join(link: Link): Promise<void> {
    await this.#change((members) =>
      members.map((member) => (member.id === link.id ? { id: member.id, inSync: true } : member)),
    );
    link.joining = false;
    this.#options.logger.info({ replica: link.id }, 'a replica is in sync');
  }

  #confirm(link: Link, number: number): void {
    link.confirmed = Math.max(link.confirmed, number);
    if (link.confirmed === this.#number) link.oldest = this.#oldest;
    this.#changed.notify();
  }

  /** Sends a message, and waits for its answer. @throws the signal's reason */
  async #ask(
    link: Link,
    changes: { instance: string; number: number; sealed: Bytes } | undefined,
    signal: AbortSignal,
  ): Promise<ReplicaAnswer> {
    const { statements, own, lease } = this.#options;
    const { pollMs, repeatMs } = this.#times;
    const { to, from } = placesOf(link.id);
    const body = { token: lease.token, active: own, nonce: systemRandom(16), ...(changes && { changes }) };
    const message = statements.make(to, body);
    const digest = digestOf(message);
    link.asked ??= performance.now();
    for (let written = Number.NEGATIVE_INFINITY; ; await sleep(pollMs, signal)) {
      signal.throwIfAborted();
      try {
        if (performance.now() - written >= repeatMs) {
          await this.#collection.put(to, message);
          written = performance.now();
          continue;
        }
        const bytes = await this.#collection.get(from);
        if (bytes === undefined) continue;
        const answer = statements.read(answerSchema, from, bytes);
        if (!equalBytes(answer.to, digest)) continue;
        link.asked = undefined;
        return answer;
      } catch (error) {
        // Withheld, or written by somebody else.
        this.#options.logger.debug({ err: error, replica: link.id }, 'no answer of a replica yet');
        await sleep(repeatMs, signal);
      }
    }
  }

  #oldestAt({ id, inSync, oldest }: Member): number | undefined {
    return inSync ? (this.#links.get(id)?.oldest ?? this.#oldest) : oldest;
  }
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

/** Wipes what waits to be sent. The link queues nothing until the whole content is being sent. */
function forget(link: Link): void {
  wipe(...(link.queue ?? []).map(({ change }) => change[2]));
  link.queue = undefined;
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
