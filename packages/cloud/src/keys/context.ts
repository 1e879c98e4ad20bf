import type { Clock, Logger, RwLock } from '@millrace/base';
import type { Playbook } from '@millrace/vault';
import { z } from 'zod';
import type { NodeConfig } from '../config.ts';
import type { Deletions } from '../node/deletions.ts';
import type { Outbound } from '../node/proactive.ts';
import type { Table } from '../node/table.ts';
import type { OpeningOrder } from '../streaming/opening-order.ts';
import type { Checks } from './checks.ts';
import type { LicenceRepository } from './licences.ts';
import type { Maintenance } from './maintenance.ts';
import type { SegmentsMembers } from './segments-members.ts';
import type { Storing } from './storing.ts';
import type { KeysStreams } from './streams.ts';
import type { VaultKeys } from './vault-keys.ts';

export const refusalSchema = z.strictObject({ code: z.string(), reason: z.string() });
export type Refusal = z.output<typeof refusalSchema>;

/** State shared by the parts of the keys node. Built once, in keys-node.ts. */
export interface KeysContext {
  readonly config: NodeConfig;
  readonly playbook: Playbook;
  readonly licences: LicenceRepository;
  readonly deletions: Deletions;
  /** Designs whose content keys cannot be opened. */
  readonly refusals: Table<Refusal>;
  readonly streams: KeysStreams;
  readonly openings: OpeningOrder;
  readonly maintenance: Maintenance;
  readonly vaultKeys: VaultKeys;
  readonly members: SegmentsMembers;
  readonly checks: Checks;
  readonly storing: Storing;
  readonly outbound: Outbound;
  /**
   * Order of mail to the segments node: messages that name cells hold a shared lock, each message of a sweep an
   * exclusive one.
   */
  readonly order: RwLock;
  readonly clock: Clock;
  readonly logger: Logger;
}
