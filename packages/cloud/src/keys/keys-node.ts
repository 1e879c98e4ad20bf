import { type Closable, Closer, noTracer, RwLock } from '@millrace/base';
import type { Addresses } from '@millrace/protocol';
import type { NodeConfig } from '../config.ts';
import { catchUpDeletions, Deletions } from '../node/deletions.ts';
import { reportMetrics } from '../node/metrics-reporter.ts';
import type { NodeModules } from '../node/modules.ts';
import { connectOutbound } from '../node/proactive.ts';
import { RollbackGuard } from '../node/rollback-guard.ts';
import { Table } from '../node/table.ts';
import { ObjectRepository } from '../streaming/objects.ts';
import { OpeningOrder } from '../streaming/opening-order.ts';
import { Checks } from './checks.ts';
import { type KeysContext, refusalSchema } from './context.ts';
import { deleteDesign } from './design-messages.ts';
import { LicenceRepository } from './licences.ts';
import { Maintenance } from './maintenance.ts';
import { handleLinkMessage, handleMail } from './messages.ts';
import type { Destruction } from './replicas/leader.ts';
import { SegmentsMembers } from './segments-members.ts';
import { type KeysStores, openPlaybook } from './stores.ts';
import { Storing } from './storing.ts';
import { KeysStreams } from './streams.ts';
import { VaultKeys } from './vault-keys.ts';

/** A running node. Its parts are exposed for tests, like `ControlNode.context`. */
export interface KeysNode extends Closable {
  readonly parts: KeysContext;
  close(): Promise<void>;
}

export interface KeysNodeOptions {
  readonly id: string;
  readonly config: NodeConfig;
  readonly addresses: Addresses;
  /** This replica, if there may be several: they use the same records, one at a time. */
  readonly replica?: {
    readonly id: string;
    /** Fencing token of its lease. */
    readonly token: number;
    /** What is destroyed on all of them. */
    destruction(): Destruction;
  };
}

/** The keys node: holds playbooks and content keys (wrapped), opens no port, never sees a cell. */
export async function createKeysNode(
  { id, config, addresses, replica }: KeysNodeOptions,
  { stores, clock, metrics, tracer = noTracer, ...modules }: NodeModules<KeysStores>,
): Promise<KeysNode> {
  const closer = new Closer();
  const logger = modules.logger.child({ node: id, role: 'keys' });
  const { directory } = config;
  const playbook = closer.add(await openPlaybook(stores, config.maintenance.density));
  const { records } = stores;
  const licences = new LicenceRepository(records, stores.wrapper);
  const deletions = new Deletions(records, directory);
  const refusals = new Table(records, 'refused', refusalSchema);
  const outbound = await connectOutbound({
    config,
    addresses,
    store: records,
    slots: stores.boxes,
    clock,
    logger,
    tracer,
    turn: replica?.token,
    onStream: (message) => handleLinkMessage(streams, message, logger),
  });
  const { control, mail, links } = outbound;
  const objects = new ObjectRepository(records, replica?.id);
  const order = new RwLock();
  const streams = new KeysStreams({
    directory,
    identity: config.identity,
    clock,
    logger,
    playbook,
    licences,
    deletions,
    objects,
    mail,
    links,
    order,
    chaffPercent: config.chaffPercent,
  });
  const vaultKeys = new VaultKeys({ mail, directory, id, logger });
  const members = new SegmentsMembers({ directory, keys: vaultKeys, clock });
  const storing = new Storing({ members, clock, signal: vaultKeys.closing });
  const maintenance = new Maintenance(
    {
      playbook,
      store: records,
      mail,
      vaultKeys,
      members,
      storing,
      control,
      clock,
      logger,
      metrics,
      tracer,
      order,
      destruction: replica && (() => replica.destruction()),
    },
    config.maintenance,
  );
  const checks = new Checks(config.checks, {
    store: records,
    check: (ids, deep) => maintenance.check(ids, deep),
    logger,
  });
  const parts: KeysContext = {
    config,
    playbook,
    licences,
    deletions,
    refusals,
    streams,
    openings: new OpeningOrder(),
    maintenance,
    vaultKeys,
    members,
    checks,
    storing,
    outbound,
    order,
    clock,
    logger,
  };
  closer.add(streams);
  closer.add(checks);
  closer.add(maintenance);
  closer.add(vaultKeys);
  closer.add(outbound);
  closer.add(reportMetrics({ metrics, node: config, control, logger }));
  const newestEpoch = () => {
    const { sweep, epoch } = playbook.status();
    return sweep?.to ?? epoch;
  };
  const head = closer.add(new RollbackGuard({ store: records, control, epoch: newestEpoch, logger }));
  // A playbook restored from an old state cannot open present cells and must not begin a sweep.
  head.start(async () => {
    await catchUpDeletions({ control, logger }, async (deletion) => {
      if (playbook.designs().some(({ design }) => design === deletion.design)) await deleteDesign(parts, deletion);
    });
    await outbound.start((message, from, goOn) => handleMail(parts, message, from, goOn));
    vaultKeys.renew();
    maintenance.start();
    void checks.start();
  });
  return { parts, close: () => closer.close() };
}
