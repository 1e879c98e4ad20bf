import { type Clock, equalBytes, RwLock, within } from '@millrace/base';
import type { StoredMessage } from '@millrace/vault';
import type { SegmentsMembers } from './segments-members.ts';

/** How often it is looked whether a node that stores has fallen silent, ms. */
const LOOK_MS = 500;
/** Longest time for which steps of a sweep wait for a node that stores, ms. */
const MOST_MS = 30_000;

type Cells = Pick<StoredMessage, 'design' | 'from'>;

interface Awaited {
  readonly node: string;
  readonly cells: Cells;
  readonly end: () => void;
}

/**
 * Cells that segments nodes store now. If several nodes share the cells, a step of a sweep can reach one node before
 * another has stored the cells that the step moves; these would have to be stored again. Steps therefore wait until
 * the nodes that were told to store have reported, unless they are silent, and nobody is told to store more before a
 * step that waits.
 */
export class Storing {
  readonly #members: Pick<SegmentsMembers, 'isSilent'>;
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  readonly #lock = new RwLock();
  /** What is waited for. */
  readonly #awaited = new Set<Awaited>();

  constructor(modules: { members: Pick<SegmentsMembers, 'isSilent'>; clock: Clock; signal: AbortSignal }) {
    this.#members = modules.members;
    this.#clock = modules.clock;
    this.#signal = modules.signal;
  }

  /**
   * Tells a node to store cells, and resolves when it has reported or is silent.
   * @param tell @returns whether the node was told
   */
  told(node: string, cells: Cells, tell: () => Promise<boolean>): Promise<boolean> {
    return this.#lock.read(async () => {
      this.reported(node, cells); // told again
      let end = () => {};
      const reported = new Promise<true>((resolve) => {
        end = () => resolve(true);
      });
      const awaited = { node, cells, end };
      this.#awaited.add(awaited);
      try {
        const since = this.#clock.monotonic();
        if (!(await tell())) return false;
        while (!(await within(reported, LOOK_MS, this.#signal)))
          if (this.#members.isSilent(node, since) || this.#clock.monotonic() - since >= MOST_MS) break;
        return true;
      } finally {
        this.#awaited.delete(awaited);
      }
    });
  }

  /** Handles a node's report, after it was counted, or its word that it does not store the cells. */
  reported(node: string, cells: Cells): void {
    for (const each of this.#awaited)
      if (each.node === node && each.cells.from === cells.from && equalBytes(each.cells.design, cells.design))
        each.end();
  }

  /** Handles a restart of a node, which has forgotten what it was told. */
  restarted(node: string): void {
    for (const each of this.#awaited) if (each.node === node) each.end();
  }

  /** Runs a task that builds and posts a step, while no node stores. */
  step<T>(task: () => Promise<T>): Promise<T> {
    return this.#lock.write(task);
  }
}
