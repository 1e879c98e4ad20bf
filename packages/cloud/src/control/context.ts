import type { Bytes, Clock, Logger, Metrics, Serial } from '@millrace/base';
import type { P256Key } from '@millrace/identity';
import type { Ledger } from '@millrace/ledger';
import type { Directory, NodeRole } from '@millrace/protocol';
import type { MaintenanceReport } from '../node/maintenance-report.ts';
import type { BoxRegistry } from './boxes.ts';
import type { DamagedRecords } from './damaged.ts';
import type { Mailbox } from './mailbox.ts';
import type { Records } from './records.ts';
import type { Progress } from './schemas.ts';
import type { WorkBoard } from './work.ts';

/** What the parts of the control node share. Built once, in control-node.ts. */
export interface ControlContext {
  readonly directory: Directory;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly records: Records;
  /** Records that are left aside. */
  readonly damaged: DamagedRecords;
  readonly ledger: Ledger;
  readonly mailbox: Mailbox;
  /** To which keys nodes and owners seal what goes to a node. */
  readonly boxes: BoxRegistry;
  readonly permitKey: P256Key;
  /** `permit-key.register`, signed by the administrator. */
  readonly permitKeyDocument: Bytes;
  /** By object, while its print runs. */
  readonly progress: Map<string, Progress>;
  /** When each node, and each machine by its name, was last heard of. */
  readonly seen: Map<NodeRole, number>;
  readonly machinesSeen: Map<string, number>;
  /** Nodes that are older than others remember of them, and why. */
  readonly quarantine: Map<NodeRole, string>;
  /** What the keys node last said of the maintenance. */
  readonly maintenance: { current?: MaintenanceReport };
  /** Orders what concerns one machine. */
  readonly serialOf: (machine: string) => Serial;
  /** What waits for machines. */
  readonly work: WorkBoard;
}
