import type { Clock, Logger, RandomSource } from '@millrace/base';
import type { SecretMemory } from '@millrace/live-matrix';
import type { PointsEngine } from '@millrace/vault';
import type { Driver } from '../drivers/contract.ts';
import type { Activity } from './activity.ts';
import type { BegunObjects } from './begun-objects.ts';
import type { CloudLink } from './cloud-link.ts';
import type { MachineConfig } from './config.ts';
import type { CommandCalls, ControlCalls } from './control-calls.ts';
import type { Inbox } from './inbox.ts';
import type { SendReport } from './machine-reports.ts';
import type { MachineOdometer } from './odometer.ts';
import type { Operator } from './operator.ts';
import type { Outbox } from './outbox.ts';
import type { GrantedVisit } from './permit.ts';
import type { RunStore } from './run-record.ts';
import type { SpoolState } from './spool-state.ts';
import type { Tables } from './tables.ts';
import type { Timing } from './timing.ts';

/** Shared parts of one agent. */
export interface AgentParts {
  readonly config: MachineConfig;
  readonly driver: Driver;
  readonly link: CloudLink;
  readonly inbox: Inbox;
  readonly calls: Pick<ControlCalls, 'callHome'>;
  /** Absent while the machine makes an object of another cloud: commands are given at the machine only. */
  readonly commands?: CommandCalls | undefined;
  /** While the machine makes an object of another cloud. */
  readonly visit?: GrantedVisit;
  /** Asks the distribution node for revoked keys. Without an answer, the known revocations apply. */
  readonly refreshRevocations: (signal: AbortSignal) => Promise<void>;
  readonly outbox: Outbox;
  readonly report: SendReport;
  readonly operator: Operator;
  readonly runs: RunStore;
  readonly begun: BegunObjects;
  readonly spool: SpoolState;
  readonly odometer: MachineOdometer;
  readonly tables: Tables;
  readonly activity: Activity;
  /** Memory for keys and opened segments. */
  readonly secrets: SecretMemory;
  /** Starts threads with the first key-homomorphic design. */
  readonly points: PointsEngine;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly timing: Timing;
  readonly logger: Logger;
}
