import type { Clock, Logger, Metrics } from '@millrace/base';

/** What every node is given. A node opens no database, reads no other clock, and makes no logger of its own. */
export interface NodeModules<Stores> {
  /** Opened, and closed, by whoever creates the node. */
  readonly stores: Stores;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

/** What the process that runs a node brings; the stores come from the node's folder. */
export type ProcessModules = Omit<NodeModules<unknown>, 'stores'>;
