import { type Closable, Closer, Mutex, noTracer } from '@millrace/base';
import { type Addresses, nodesOf } from '@millrace/protocol';
import { CellStore, PointsPool } from '@millrace/vault';
import type { NodeConfig } from '../config.ts';
import { catchUpDeletions } from '../node/deletions.ts';
import { createDistributionClients } from '../node/distribution-clients.ts';
import { reportMetrics } from '../node/metrics-reporter.ts';
import type { NodeModules } from '../node/modules.ts';
import { connectOutbound } from '../node/proactive.ts';
import { RollbackGuard, SeenEpoch } from '../node/rollback-guard.ts';
import { ObjectRepository } from '../streaming/objects.ts';
import { OpeningOrder } from '../streaming/opening-order.ts';
import type { SegmentsContext } from './context.ts';
import { DesignRepository } from './designs.ts';
import { IngestQueue } from './ingest-queue.ts';
import { deleteDesign, handleLinkMessage, handleMail } from './messages.ts';
import { Placements } from './placements.ts';
import { RepairDesign } from './repair-design.ts';
import { StagedSegments } from './staged-segments.ts';
import { stateKey } from './state-key.ts';
import { StoreDesign } from './store-design.ts';
import type { SegmentsStores } from './stores.ts';
import { SegmentsStreams } from './streams.ts';
import { VaultKeyRing } from './vault-key-ring.ts';

/** A running node. Its parts are exposed for tests, like `ControlNode.context`. */
export interface SegmentsNode extends Closable {
  readonly parts: SegmentsContext;
  close(): Promise<void>;
}

/** The segments node: holds the cells, opens no port, has no content keys and no playbook. */
export async function createSegmentsNode(
  { id, config, addresses }: { id: string; config: NodeConfig; addresses: Addresses },
  { stores, clock, metrics, tracer = noTracer, ...modules }: NodeModules<SegmentsStores>,
): Promise<SegmentsNode> {
  const closer = new Closer();
  const logger = modules.logger.child({ node: id, role: 'segments' });
  const { directory } = config;
  const { records, lostCells } = stores;
  metrics
    .gauge('millrace_cells_lost', 'cells that were missing from the cell file when the node started')
    .set(lostCells);
  if (lostCells > 0)
    logger.error({ code: 'E_CELL_MISSING', cells: lostCells }, 'cell file is truncated: owners have to repair designs');
  const cells = new CellStore(stores.cells, closer.add(new PointsPool()));
  const vaultKeys = closer.add(new VaultKeyRing(directory, id));
  const designs = new DesignRepository(records, directory);
  const outbound = await connectOutbound({
    config,
    addresses,
    store: records,
    slots: stores.boxes,
    clock,
    logger,
    tracer,
    onStream: (message) => handleLinkMessage(streams, message, logger),
  });
  const { control, mail, links } = outbound;
  const distributions = closer.add(
    createDistributionClients(
      directory,
      () => addresses.distribution,
      () => config.tls,
      tracer.traceparent,
    ),
  );
  const staged = closer.add(new StagedSegments({ distributions, store: records, clock, logger }));
  const shared = { store: records, designs, staged, mail };
  const storePlacements = new Placements(cells, mail);
  const storeJob = new StoreDesign({ ...shared, placements: storePlacements });
  const queued = { node: id, directory, staged, clock, logger, metrics };
  const storeQueue = new IngestQueue({ job: storeJob, ...queued });
  const repairPlacements = new Placements(cells, mail);
  const repairJob = new RepairDesign({ ...shared, placements: repairPlacements });
  const repairQueue = new IngestQueue({ job: repairJob, ...queued });
  const streams = new SegmentsStreams({
    directory,
    identity: config.identity,
    clock,
    logger,
    designs,
    objects: new ObjectRepository(records, id),
    cells,
    mail,
    control,
    links,
    metrics,
    tracer,
  });
  const seen = await SeenEpoch.open(records);
  const guard = new RollbackGuard({ store: records, control, epoch: () => seen.epoch, logger });
  const parts: SegmentsContext = {
    directory,
    seen,
    guard,
    designs,
    cells,
    vaultKeys,
    staged,
    storing: { queue: storeQueue, placements: storePlacements },
    repairing: { queue: repairQueue, placements: repairPlacements },
    streams,
    openings: new OpeningOrder(),
    outbound,
    logger,
    vault: new Mutex(),
  };
  closer.add(streams);
  closer.add(storeQueue);
  closer.add(repairQueue);
  closer.add(outbound);
  closer.add(reportMetrics({ metrics, node: config, control, logger }));
  closer.add(guard);
  storeQueue.start();
  repairQueue.start();
  guard.start(async () => {
    await catchUpDeletions({ control, logger }, async (deletion) => {
      if (await designs.holds(deletion.design)) await deleteDesign(parts, deletion);
    });
    await outbound.start((message, from, goOn) => handleMail(parts, message, from, goOn));
    for (const { id: keysNode } of nodesOf(directory, 'keys')) await stateKey(vaultKeys, mail, keysNode, true);
  });
  return { parts, close: () => closer.close() };
}
