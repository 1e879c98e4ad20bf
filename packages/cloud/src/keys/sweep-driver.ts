import { type Counter, type Gauge, type Metrics, type RwLock, sleep, within } from '@millrace/base';
import { type CellName, MAX_MOVED, type Playbook, POINTS_BYTES, SEGMENT_BYTES } from '@millrace/vault';
import type { Budget } from './budget.ts';
import type { SegmentsMembers } from './segments-members.ts';
import type { Storing } from './storing.ts';
import type { VaultKeys } from './vault-keys.ts';
import type { VaultMail } from './vault-mail.ts';

/** How often lanes are offered to nodes that answer again, ms. */
const OFFER_MS = 500;
const HELD_MS = 50;
/** Maximum cells of a step if several nodes share the cells: a lane that is handed over repeats little. */
const SHARED_STEP = 512;

export interface SweepDriverModules {
  readonly playbook: Playbook;
  readonly vaultMail: VaultMail;
  readonly vaultKeys: VaultKeys;
  readonly members: SegmentsMembers;
  readonly storing: Storing;
  readonly budget: Budget;
  /** Each step of a sweep holds a shared lock until it is answered, each part of a check an exclusive one. */
  readonly turn: RwLock;
  /**
   * A step is built and posted under an exclusive lock. Every message that names a place is therefore posted before it
   * or takes it into account.
   */
  readonly order: RwLock;
  readonly signal: AbortSignal;
  readonly metrics: Metrics;
  readonly onProblem: (cell: CellName) => void;
  readonly onStep: () => Promise<void>;
}

/**
 * Runs a sweep: gives its lanes to the segments nodes that answer, one at a time to each, and takes a lane from a node
 * that falls silent. One message of a lane is unanswered at a time.
 */
export class SweepDriver {
  readonly #modules: SweepDriverModules;
  /** The node to which each lane was given last, by number. */
  readonly #holders = new Map<number, string>();
  /** Lanes on which a node works. */
  readonly #taken = new Set<number>();
  /** The nodes that work. */
  readonly #working = new Map<string, Promise<void>>();
  readonly #lanes: Gauge;
  readonly #answering: Gauge;
  readonly #handedOver: Counter;
  #to: number | undefined;

  constructor(modules: SweepDriverModules) {
    this.#modules = modules;
    const { metrics } = modules;
    this.#lanes = metrics.gauge('millrace_sweep_lanes', 'lanes of the present sweep that have not ended');
    this.#answering = metrics.gauge('millrace_segments_answering', 'segments nodes that answered in the last sweep');
    this.#handedOver = metrics.counter(
      'millrace_sweep_lanes_handed_over_total',
      'lanes that were taken from a segments node because it fell silent',
    );
  }

  /** Resolves when the epoch is committed. @throws the first error of a lane; call it again to continue */
  async run(): Promise<void> {
    const { playbook, members, signal } = this.#modules;
    let failure: { readonly error: unknown } | undefined;
    for (let { sweep } = playbook.status(); sweep !== undefined; { sweep } = playbook.status()) {
      if (sweep.to !== this.#to) this.#holders.clear();
      this.#to = sweep.to;
      this.#lanes.set(sweep.lanes.length);
      this.#answering.set(members.answering.length);
      for (const node of members.answering) {
        if (this.#working.has(node) || this.#freeLane() === undefined) continue;
        const work = this.#work(node)
          .catch((error: unknown) => {
            failure ??= { error };
          })
          .finally(() => this.#working.delete(node));
        this.#working.set(node, work);
      }
      await within(Promise.race(this.#working.values()), OFFER_MS, signal);
      if (failure !== undefined) break;
    }
    await Promise.all(this.#working.values());
    this.#lanes.set(playbook.status().sweep?.lanes.length ?? 0);
    if (failure !== undefined) throw failure.error;
  }

  /** Has a node work on lanes until none is free or the node is silent. */
  async #work(node: string): Promise<void> {
    for (let silent = false; !silent; ) {
      const lane = this.#freeLane();
      if (lane === undefined) return;
      this.#taken.add(lane);
      try {
        silent = await this.#sweepLane(lane, node);
      } finally {
        this.#taken.delete(lane);
      }
    }
  }

  #freeLane(): number | undefined {
    return this.#modules.playbook.status().sweep?.lanes.find((lane) => !this.#taken.has(lane));
  }

  /** @returns whether the node fell silent before the lane ended */
  async #sweepLane(lane: number, node: string): Promise<boolean> {
    const { playbook, budget, turn, signal, onProblem, onStep } = this.#modules;
    while (playbook.status().sweep?.lanes.includes(lane)) {
      const step = await turn.read(() => this.#step(lane, node));
      if (step === 'silent') {
        this.#handedOver.add();
        return true;
      }
      if (step === undefined) {
        if (playbook.status().sweep?.lanes.includes(lane)) await sleep(HELD_MS, signal); // a check holds the vault
        continue;
      }
      const { cells, points, workMs, wireBytes, outcome } = step;
      for (const cell of [...(outcome?.missing ?? []), ...(outcome?.damaged ?? [])]) onProblem(cell);
      const bytes = cells * SEGMENT_BYTES + points * POINTS_BYTES;
      const wait = budget.spend({ cells, points, bytes, workMs, wireBytes });
      await onStep();
      if (wait > 0) await sleep(wait, signal);
    }
    return false;
  }

  /** Sends one message of a lane and awaits its answer. @returns undefined when the lane has no message now */
  async #step(lane: number, node: string) {
    const { playbook, order, vaultMail, vaultKeys, members, storing, budget } = this.#modules;
    const limit = () => Math.min(budget.step(MAX_MOVED, SEGMENT_BYTES), members.shared ? SHARED_STEP : MAX_MOVED);
    await vaultKeys.ready(() => node);
    const post = async () => {
      const given = members.shared && this.#holders.get(lane) !== node;
      const message = await playbook.nextMaintenance(limit(), lane, { given });
      if (message === undefined) return undefined;
      this.#holders.set(lane, node);
      const { to, number, fence } = message;
      const cells = message.items.count + message.masked.count;
      const points = message.points.count;
      const posted = await vaultMail.post(
        message,
        (reply) =>
          reply.type === 'maintained' &&
          reply.to === to &&
          reply.lane === lane &&
          reply.number === number &&
          reply.fence === fence
            ? reply
            : undefined,
        node,
      );
      return { cells, points, posted };
    };
    const step = await storing.step(() => order.write(post));
    if (step === undefined) return undefined;
    const { posted, ...counts } = step;
    const [answer] = await Promise.all([posted.answer(), playbook.lookAhead(limit(), lane)]);
    if (answer === undefined) return 'silent';
    return { ...counts, workMs: answer.work, wireBytes: posted.bytes, outcome: await playbook.maintained(answer) };
  }
}
