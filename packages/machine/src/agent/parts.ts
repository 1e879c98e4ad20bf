import type { Clock, Logger, RandomSource } from '@millrace/base';
import type { SecretMemory } from '@millrace/live-matrix';
import type { PointsEngine } from '@millrace/vault';
import type { Driver } from '../drivers/contract.ts';
import type { BegunObjects } from './begun-objects.ts';
import type { CloudLink } from './cloud-link.ts';
import type { MachineConfig } from './config.ts';
import type { ControlCalls } from './control-calls.ts';
import type { Inbox } from './inbox.ts';
import type { SendReport } from './machine-reports.ts';
import type { Outbox } from './outbox.ts';
import type { RunStore } from './run-record.ts';
import type { Tables } from './tables.ts';
import type { Timing } from './timing.ts';

/** What the parts of one agent share. */
export interface AgentParts {
  readonly config: MachineConfig;
  readonly driver: Driver;
  readonly link: CloudLink;
  readonly inbox: Inbox;
  readonly calls: ControlCalls;
  /** Asks the distribution node for keys that were revoked; when it does not answer, those known count. */
  readonly refreshRevocations: (signal: AbortSignal) => Promise<void>;
  readonly outbox: Outbox;
  readonly report: SendReport;
  readonly runs: RunStore;
  readonly begun: BegunObjects;
  readonly tables: Tables;
  /** Keys and opened segments lie here. */
  readonly secrets: SecretMemory;
  /** Threads, from the first key-homomorphic design on. */
  readonly points: PointsEngine;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly timing: Timing;
  readonly logger: Logger;
}
