import type { MaintenanceReport, Progress } from '@millrace/api';
import type { Bytes, Clock, KeyedMutex, Logger, ReadableMetrics, RwLock, Tracer } from '@millrace/base';
import type { Authority, P256Key } from '@millrace/identity';
import type { Ledger } from '@millrace/ledger';
import type { Directory, NodeRole } from '@millrace/protocol';
import type { BoxRegistry } from './boxes.ts';
import type { Changes } from './changes.ts';
import type { CheckpointPublisher } from './checkpoint-publisher.ts';
import type { CommandBoard } from './command-board.ts';
import type { DamagedRecords } from './damaged.ts';
import type { LookBoard } from './look-board.ts';
import type { Mailbox } from './mailbox.ts';
import type { NodeMetrics } from './node-metrics.ts';
import type { OwnMail } from './own-mail.ts';
import type { PrintQueue } from './print-queue.ts';
import type { Records } from './records.ts';
import type { WebhookAddresses } from './webhooks/addresses.ts';
import type { WebhookOutbox } from './webhooks/outbox.ts';

/** Figures, and when control got them; those of the machine may be older. Milliseconds since 1970. */
export type TimedProgress = Progress & { readonly at: number; readonly machineAt?: number | undefined };

/** State shared by the parts of the control node. Built once, in control-node.ts. */
export interface ControlContext {
  /** This node's id in the directory. */
  readonly id: string;
  readonly directory: Directory;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: ReadableMetrics;
  readonly tracer: Tracer;
  /** The other nodes' newest metrics. */
  readonly nodeMetrics: NodeMetrics;
  readonly records: Records;
  /** Records that are skipped because they cannot be read. */
  readonly damaged: DamagedRecords;
  readonly ledger: Ledger;
  readonly publisher: CheckpointPublisher;
  readonly mailbox: Mailbox;
  readonly ownMail: Pick<OwnMail, 'receive' | 'requireActive'>;
  /** Public keys that mail and attachments are sealed to. */
  readonly boxes: BoxRegistry;
  readonly permitKey: P256Key;
  /** `permit-key.register`, signed by the administrator. */
  readonly permitKeyDocument: Bytes;
  /** Issues certificates to users; absent in an installation without one. */
  readonly userAuthority?: Authority | undefined;
  /** Live figures of running prints, by object. */
  readonly progress: Map<string, TimedProgress>;
  /** When each node and each machine last called, by id: milliseconds since 1970. */
  readonly seen: Map<string, { readonly role: NodeRole; readonly at: number }>;
  readonly machinesSeen: Map<string, number>;
  /** Quarantined nodes by id, with the reason. */
  readonly quarantine: Map<string, { readonly role: NodeRole; readonly reason: string }>;
  /** The keys node's newest report on maintenance. */
  readonly maintenance: { current?: MaintenanceReport };
  /** Serializes tasks that concern one machine or one licence. */
  readonly mutexes: KeyedMutex;
  /** Licences whose last claim is in the record of its print, as far as this process knows. */
  readonly settled: Set<string>;
  /**
   * Print requests and permits hold it as readers, statements on licences as writers, so that a statement never
   * overlaps a permit.
   */
  readonly licensing: RwLock;
  readonly printQueue: PrintQueue;
  readonly commands: CommandBoard;
  readonly looks: LookBoard;
  readonly changes: Changes;
  readonly webhooks: { readonly outbox: WebhookOutbox; readonly addresses: WebhookAddresses };
}
