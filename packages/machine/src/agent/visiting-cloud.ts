import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createApiClient, distributionRoutes } from '@millrace/api';
import {
  type Clock,
  type Closable,
  Closer,
  decodeCbor,
  encodeCbor,
  type Logger,
  MillraceError,
  type RandomSource,
} from '@millrace/base';
import { keyName } from '@millrace/identity';
import {
  addressesOf,
  createRingClient,
  type Directory,
  fetchRevocations,
  linkName,
  openRevocations,
  type RecognisedCloud,
  tlsTo,
} from '@millrace/protocol';
import { type CloudLink, connectCloud } from './cloud-link.ts';
import type { MachineConfig } from './config.ts';
import { createVisitorCalls } from './control-calls.ts';
import { Inbox } from './inbox.ts';
import { createReports, type SendReport } from './machine-reports.ts';
import { type Outbox, openOutbox } from './outbox.ts';
import type { SpoolState } from './spool-state.ts';
import type { Timing } from './timing.ts';

/** What this machine has at a cloud that it visits: a link, and reports that wait for that cloud. */
export interface VisitedCloud extends Closable {
  /** The machine's configuration with the directory of that cloud. */
  readonly config: MachineConfig;
  readonly link: CloudLink;
  readonly inbox: Inbox;
  readonly outbox: Outbox;
  readonly report: SendReport;
  readonly refreshRevocations: (signal: AbortSignal) => Promise<unknown>;
  close(): Promise<void>;
}

export interface VisitingParts {
  readonly config: MachineConfig;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly timing: Timing;
  readonly logger: Logger;
  readonly spool: Pick<SpoolState, 'material'>;
}

/** Folder of the data that belongs to visited clouds: one folder each, by installation. */
export const cloudsFolder = ({ data }: MachineConfig): string => join(data, 'clouds');

/** @throws {MillraceError} E_CLOUD_UNKNOWN if that cloud has no address; E_STORE */
export async function openVisitedCloud(
  { config: own, clock, random, timing, logger, spool }: VisitingParts,
  { installation, adminKey, distribution, directory: known }: RecognisedCloud,
): Promise<VisitedCloud> {
  if (distribution === undefined)
    throw new MillraceError('E_CLOUD_UNKNOWN', `the recognised cloud ${installation} has no address`);
  const folder = join(cloudsFolder(own), installation);
  await mkdir(join(folder, 'reports'), { recursive: true, mode: 0o700 });
  const closer = new Closer();
  const lists = await openRevocations(folder, { installation, adminKey });
  const directory: Directory = {
    ...known,
    get revocations() {
      return lists.revocations;
    },
  };
  const config = { ...own, directory };
  // Where the administrator says that visitors connect; if it is one of that cloud's nodes, at all of them.
  const listed = addressesOf(known, 'distribution', undefined);
  const isListed = listed.some(({ host, port }) => host === distribution.host && port === distribution.port);
  const addresses = () => (isListed ? listed : [distribution]);
  const tls = () => own.tls;
  const inbox = new Inbox(linkName(keyName(own.machineKey.publicKey), own.directory.installation));
  const link = closer.add(
    connectCloud(
      { addresses, directory, tls, logger, quietMs: timing.quietMs },
      { stream: (message) => inbox.deliver(message), lost: () => inbox.linkLost() },
    ),
  );
  const http = closer.add(createRingClient(addresses, { tls: tlsTo(directory, 'distribution', tls) }));
  const { revocations } = createApiClient(distributionRoutes, {
    transport: http,
    cbor: {
      encode: (value) => encodeCbor(value as never),
      decode: (bytes) => decodeCbor(bytes, 'answer of the node'),
    },
  });
  const signer = { key: own.machineKey, installation };
  const calls = createVisitorCalls(link, timing);
  const reports = join(folder, 'reports');
  const outbox = closer.add(await openOutbox({ folder: reports, calls, link, timing, logger, signer }));
  return {
    config,
    link,
    inbox,
    outbox,
    report: createReports({ config, outbox, clock, random, spool }),
    refreshRevocations: (signal) => fetchRevocations(revocations.get, lists, logger, signal),
    close: () => closer.close(),
  };
}
