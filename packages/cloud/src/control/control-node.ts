import {
  type Closable,
  Closer,
  decodeCbor,
  isDiskFault,
  KeyedMutex,
  MillraceError,
  noTracer,
  parse,
  RwLock,
  systemRandom,
} from '@millrace/base';
import type { Authority } from '@millrace/identity';
import { openLedger } from '@millrace/ledger';
import type { Address, DirectoryNode, Message } from '@millrace/protocol';
import type { Queue } from '@millrace/stores';
import { z } from 'zod';
import type { NodeConfig } from '../config.ts';
import { followDirectory } from '../node/follow-directory.ts';
import { IdempotentAnswers } from '../node/idempotency.ts';
import type { NodeModules } from '../node/modules.ts';
import { OwnBoxes } from '../node/own-boxes.ts';
import { withProcessMetrics } from '../node/process-metrics.ts';
import { createTlsServer, listen, type TlsServer } from '../node/server.ts';
import { logMapRegularly, MAP_CHANGES } from './account-map.ts';
import { takeAlarm } from './alarms.ts';
import { BoxRegistry } from './boxes.ts';
import { Changes } from './changes.ts';
import { createCheckpointPublisher } from './checkpoint-publisher.ts';
import { CheckBoard } from './checks.ts';
import { CommandBoard } from './command-board.ts';
import { openConsole } from './console/open.ts';
import { Sessions, sessionKey } from './console/sessions.ts';
import type { ControlContext } from './context.ts';
import { DamagedRecords, lookForDamaged } from './damaged.ts';
import { takeDeleted, takeFindings, takeRepaired } from './designs.ts';
import { watchMachines } from './event-feeds.ts';
import { finishInterrupted } from './interrupted.ts';
import type { LedgerKeys } from './ledger-keys.ts';
import { tracedStore } from './ledger-spans.ts';
import { LookBoard } from './look-board.ts';
import { Mailbox } from './mailbox.ts';
import { takeMaintained } from './modes.ts';
import { NodeMetrics } from './node-metrics.ts';
import { OwnMail } from './own-mail.ts';
import { countingActor } from './people.ts';
import type { PermitKey } from './permit-key.ts';
import { PrintQueue } from './print-queue.ts';
import { openPublicLedger } from './public-ledger.ts';
import { refuseExpired } from './queued-prints.ts';
import { forgetSeen, openRecords } from './records.ts';
import { takeRefusedOpening } from './refused-openings.ts';
import { addRoutes } from './routes.ts';
import type { SharedKeys } from './shared-keys.ts';
import { forgetSignIns } from './sign-in-log.ts';
import type { ControlStores } from './stores.ts';
import { forgetTokens } from './tokens.ts';
import { storedEvent } from './transactions.ts';
import { refuseExpiredVisits } from './visits.ts';
import { WebhookAddresses } from './webhooks/addresses.ts';
import { WebhookOutbox } from './webhooks/outbox.ts';
import { WebhookSender } from './webhooks/sender.ts';

/** Time within which a witness must sign a checkpoint, ms. */
const WITNESS_TIMEOUT_MS = 5_000;

/** Largest body of a request, bytes. */
export const CONTROL_BODY_LIMIT = 64 * 1024 * 1024;

/** Interval between checks for expired prints in the queue, ms. */
const EXPIRY_MS = 5_000;

export interface ControlOptions {
  readonly id: string;
  readonly config: NodeConfig;
  readonly address: Address;
  /** Address of the public ledger. The settings may name another address or turn the public ledger off. */
  readonly ledgerAddress?: Address | undefined;
  /** Address of the console. The settings may name another address or turn the console off. */
  readonly consoleAddress?: Address | undefined;
  /** Address of distribution's listener for browsers, if it is on this computer. */
  readonly uploadsAddress?: Address | undefined;
  /** Of a control node that shares its state with others: its keys, and how its API is served in its turn. */
  readonly shared?: { readonly keys: SharedKeys; serve(server: TlsServer): Promise<Closable> } | undefined;
}

export interface ControlModules extends NodeModules<ControlStores> {
  readonly queue: Queue;
  readonly keys: {
    readonly permit: PermitKey;
    readonly ledger: LedgerKeys;
    /** Issues certificates to users. */
    readonly users?: Authority | undefined;
  };
}

/** A running node. Its parts are exposed so that tests can act as a dishonest node. */
export interface ControlNode extends Closable {
  readonly context: ControlContext;
  close(): Promise<void>;
}

/**
 * The control node: users, designs, licences, prints, permits, mailbox, ledger, API. Holds no design bytes and no
 * content keys.
 */
export async function createControlNode(
  { id, config, address, ledgerAddress, consoleAddress, uploadsAddress, shared }: ControlOptions,
  { stores, queue, keys, clock, metrics, tracer = noTracer, ...modules }: ControlModules,
): Promise<ControlNode> {
  const closer = new Closer();
  const logger = modules.logger.child({ node: id, role: 'control' });
  const nodeMetrics = new NodeMetrics(closer.add(withProcessMetrics(metrics, config)));
  const { directory, identity } = config;
  const ledger = closer.add(
    await openLedger({
      store: tracedStore(stores.ledger, tracer),
      clock,
      map: { changes: MAP_CHANGES },
      ...keys.ledger,
    }),
  );
  const { witnesses, everyMs } = config.ledger;
  const publisher = closer.add(
    createCheckpointPublisher({ ledger, witnesses, everyMs, timeoutMs: WITNESS_TIMEOUT_MS, logger }),
  );
  closer.add(logMapRegularly(ledger, logger));
  const registry = new BoxRegistry(stores.records, directory);
  const mailbox = new Mailbox({ queue, id, directory, identity, boxes: registry, clock, tracer });
  const boxes: OwnBoxes = closer.add(
    await OwnBoxes.open({
      slots: stores.boxes.mail,
      directory,
      node: id,
      use: 'mail',
      identity,
      period: config.boxes.mail,
      clock,
      logger,
      announce: async (document, floor) => {
        await registry.take(id, 'mail', document, floor);
        // Mail is opened when it arrives: none waits that is sealed to an older key.
        void boxes.drained(floor).catch(() => undefined); // repeated with the next key
      },
    }),
  );
  await boxes.start().catch((error: unknown) => {
    if (!isDiskFault(error)) throw error;
    logger.warn({ err: error }, 'mail box key not renewed yet: the disk refused the write');
  });

  const ownMail = new OwnMail({ queue, id, directory, boxes, logger, tracer });
  const printQueue = new PrintQueue(clock);
  const checks = new CheckBoard(clock);
  const damaged = new DamagedRecords(logger, metrics);
  const changes = new Changes(clock, systemRandom);
  const records = openRecords(stores.records, damaged.add, changes.wrote);
  const actorOf = (key: string) => countingActor({ directory, records, clock }, key);
  const outbox = new WebhookOutbox({ records, actorOf, changes, clock, random: systemRandom, logger });
  const addresses = new WebhookAddresses(config.webhooks);
  const context: ControlContext = {
    id,
    directory,
    clock,
    logger,
    metrics,
    tracer,
    nodeMetrics,
    records,
    damaged,
    ledger,
    publisher,
    boxes: registry,
    mailbox,
    ownMail,
    permitKey: keys.permit.key,
    permitKeyDocument: keys.permit.document,
    userAuthority: keys.users,
    progress: new Map(),
    seen: new Map(),
    machinesSeen: new Map(),
    quarantine: new Map(),
    maintenance: {},
    mutexes: new KeyedMutex(),
    settled: new Set(),
    licensing: new RwLock(),
    printQueue,
    commands: new CommandBoard(),
    looks: new LookBoard(),
    changes,
    webhooks: { outbox, addresses },
  };

  await finishInterrupted(context);
  const { seen } = context.records;
  const sessions = new Sessions(stores.sessions, { clock, random: systemRandom, key: sessionKey(keys.permit.key) });
  const answers = await IdempotentAnswers.open(context.records.answers, clock);
  const forget = () =>
    Promise.all([
      ...[forgetSeen(seen, clock.now()), answers.forget(), forgetTokens(context), forgetSignIns(context)],
      ...[outbox.forget(), sessions.forget()],
    ]).catch((error: unknown) =>
      logger.warn({ err: error }, 'expired records not removed: the next attempt is in an hour'),
    );
  const sender = closer.add(new WebhookSender(config.webhooks, { outbox, records, addresses, clock, logger, metrics }));
  closer.add(await outbox.open(sender.look));
  await forget();
  const hourly = setInterval(() => void forget(), 3_600_000);
  closer.add({ close: () => clearInterval(hourly) });
  const expire = () =>
    Promise.all([refuseExpired(context), refuseExpiredVisits(context)]).catch((error: unknown) =>
      logger.warn({ err: error }, 'expired prints not refused: the next attempt follows in a few seconds'),
    );
  const expiry = setInterval(() => void expire(), EXPIRY_MS);
  closer.add({ close: () => clearInterval(expiry) });
  closer.add({ close: watchMachines(context) });
  const looking = new AbortController();
  const looked = lookForDamaged(records, looking.signal).catch((error: unknown) => {
    if (!looking.signal.aborted) logger.warn({ err: error }, 'not every record was looked at for damage');
  });
  closer.add({
    close: () => {
      looking.abort(new MillraceError('E_UNAVAILABLE', 'the node is closing'));
      return looked;
    },
  });
  closer.add(ownMail.read((message, from) => handle(context, checks, message, from)));
  const server = createTlsServer({
    ...{ directory, tls: config.tls, logger, metrics, tracer },
    ...{ bodyLimit: CONTROL_BODY_LIMIT, guests: true },
  });
  addRoutes(server, context, { checks, answers, directories: config.directories, sharedKeys: shared?.keys });
  closer.add(followDirectory(config, { server, logger }));
  closer.add(await (shared?.serve(server) ?? listen(server, address)));
  closer.add(
    await openPublicLedger({
      ...{ config, address: ledgerAddress, ledger, publisher, logger },
      isServing: () => !context.quarantine.has(id),
    }),
  );
  closer.add(
    await openConsole({ config, address: consoleAddress, uploadsAddress, context, checks, answers, sessions }),
  );
  return { context, close: () => closer.close() };
}

const findingsSchema = z.looseObject({
  deep: z.boolean(),
  problems: z.array(
    z.looseObject({
      kind: z.string(),
      design: z.string().optional(),
      segments: z.array(z.number().int().nonnegative()).optional(),
    }),
  ),
});

async function handle(
  context: ControlContext,
  checks: CheckBoard,
  message: Message,
  from: DirectoryNode,
): Promise<void> {
  const { records } = context;
  switch (message.type) {
    case 'design.stored': {
      const design = await records.designs.update(message.design, (current) =>
        current.deletion === undefined ? { ...current, state: 'stored' } : current,
      );
      if (design.state !== 'stored') return;
      await context.ledger.append(storedEvent(design));
      return;
    }
    case 'design.refused': {
      const { code, reason } = message;
      // Missing segments can still be uploaded. Every other refusal is final.
      const state = code === 'E_UPLOAD' ? 'uploading' : 'refused';
      await records.designs.update(message.design, (current) =>
        current.state === 'stored' || current.deletion !== undefined ? current : { ...current, state, code, reason },
      );
      return;
    }
    case 'licence.refused':
      await records.licences.update(message.licence, (current) => ({ ...current, lost: true }));
      return;
    case 'design.deleted':
      return takeDeleted(context, message);
    case 'design.maintained':
      return takeMaintained(context, message);
    case 'design.repaired':
      return takeRepaired(context, message);
    case 'stream.alarm':
      return takeAlarm(context, message, from.role);
    case 'stream.refused':
      return takeRefusedOpening(context, message, from.role);
    case 'check.result': {
      const report = parse(findingsSchema, decodeCbor(message.report, 'report'), 'report');
      await takeFindings(context, report);
      return checks.report(message.check, report);
    }
    default:
      throw new MillraceError('E_INPUT', `control takes no ${message.type}`);
  }
}
