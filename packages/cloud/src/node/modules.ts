import type { Clock, Logger, ReadableMetrics, Tracer } from '@millrace/base';

/** Modules of every node. A node opens no database and creates no clock or logger itself. */
export interface NodeModules<Stores> {
  /** Opened and closed by the caller. */
  readonly stores: Stores;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: ReadableMetrics;
  /** Default: records nothing. */
  readonly tracer?: Tracer;
}

/** Modules that the process of a node supplies; the stores come from the node's folder. */
export type ProcessModules = Omit<NodeModules<unknown>, 'stores'>;
