import type { MetricSample } from '@millrace/api';
import type { Sample } from '@millrace/base';
import type { NodeRole } from '@millrace/protocol';

/** Time after which the metrics of a node that sends no more are dropped, ms. */
const LIFETIME_MS = 60_000;

interface Report {
  readonly role: NodeRole;
  readonly samples: readonly Sample[];
  /** Milliseconds since 1970. */
  readonly at: number;
}

/** Control's own metrics, and the newest ones that each of the other nodes has sent. */
export class NodeMetrics {
  readonly #own: { samples(): Sample[] };
  readonly #reports = new Map<string, Report>();

  constructor(own: { samples(): Sample[] }) {
    this.#own = own;
  }

  own(): Sample[] {
    return this.#own.samples();
  }

  take(node: string, role: NodeRole, samples: readonly MetricSample[], at: number): void {
    this.#reports.set(node, { role, samples, at });
  }

  /** Drops the reports of nodes that have stopped to send them: an old value must not look like a present one. */
  current(now: number): [string, Report][] {
    for (const [node, { at }] of this.#reports) if (now - at > LIFETIME_MS) this.#reports.delete(node);
    return [...this.#reports];
  }
}
