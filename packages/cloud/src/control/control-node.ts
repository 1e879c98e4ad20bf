import { join } from 'node:path';
import {
  type Clock,
  type Closable,
  Closer,
  decodeCbor,
  isDiskFault,
  type Logger,
  MillraceError,
  parse,
  Serial,
  sleep,
  systemClock,
  wipe,
} from '@millrace/base';
import { p256Key } from '@millrace/identity';
import { openLedger } from '@millrace/ledger';
import type { Address } from '@millrace/protocol';
import { openLmdb } from '@millrace/stores';
import { z } from 'zod';
import { type NodeConfig, nodeFiles } from '../config.ts';
import { followDirectory } from '../node/follow-directory.ts';
import { createTlsServer, listen } from '../node/server.ts';
import { takeAlarm } from './alarms.ts';
import { CheckBoard } from './checks.ts';
import type { ControlContext } from './context.ts';
import { announceDeletion, takeDeleted, takeFindings, takeRepaired } from './designs.ts';
import { openLedgerKeys } from './ledger-keys.ts';
import { type Delivery, Mailbox } from './mailbox.ts';
import { announceMaintenance, takeMaintained } from './modes.ts';
import { readPermitKeyDocument } from './permit-key.ts';
import { announcePermit, settleClaims } from './permits.ts';
import { forgetSeen, openRecords } from './records.ts';
import { addRoutes } from './routes.ts';
import { announceDesign, announceLicence } from './transactions.ts';
import { WorkBoard } from './work.ts';

export interface ControlOptions {
  readonly config: NodeConfig;
  readonly address: Address;
}

/** A running node. Whoever runs it in their own process reaches its parts: tests act through them as a node that lies. */
export interface ControlNode extends Closable {
  readonly context: ControlContext;
  close(): Promise<void>;
}

/** The control node: users, designs, licences, prints, permits, mailbox, ledger, API. Holds no design bytes and no content keys. */
export async function createControlNode(
  { config, address }: ControlOptions,
  modules: { clock?: Clock; logger: Logger },
): Promise<ControlNode> {
  const closer = new Closer();
  const { directory } = config;
  const clock = modules.clock ?? systemClock;
  const environment = closer.add(openLmdb({ path: join(config.folder, nodeFiles.data) }));
  const permitSecret = await config.secret('permitKey');
  const permitKey = closer.add(p256Key(permitSecret));
  wipe(permitSecret);
  const permitKeyDocument = await readPermitKeyDocument(config, permitKey.publicKey);
  const logKeys = await openLedgerKeys(config, { clock, logger: modules.logger });
  const ledger = closer.add(await openLedger({ store: environment.store('ledger'), clock, ...logKeys }));

  const work = new WorkBoard();
  const checks = new CheckBoard();
  const serials = new Map<string, Serial>();
  const context: ControlContext = {
    directory,
    clock,
    logger: modules.logger,
    records: openRecords(environment.store('records')),
    ledger,
    mailbox: new Mailbox(environment.queue('mail'), directory, config.identity),
    permitKey,
    permitKeyDocument,
    progress: new Map(),
    seen: new Map(),
    machinesSeen: new Map(),
    quarantine: new Map(),
    maintenance: {},
    serialOf: (machine) => {
      const serial = serials.get(machine) ?? new Serial();
      serials.set(machine, serial);
      return serial;
    },
    queued: (machine, print) => work.add(machine, print),
  };

  await finishInterrupted(context);
  await work.load(context);
  const { seen } = context.records;
  const forget = () =>
    forgetSeen(seen, clock.now()).catch((error: unknown) => modules.logger.warn({ err: error }, 'seen'));
  await forget();
  const hourly = setInterval(() => void forget(), 3_600_000);
  closer.add({ close: () => clearInterval(hourly) });
  closer.add(readOwnMail(context, checks));
  const server = createTlsServer({ directory, tls: config.tls, logger: modules.logger, bodyLimit: 64 * 1024 * 1024 });
  addRoutes(server, context, work, checks);
  closer.add(followDirectory(config, server, modules.logger));
  closer.add(await listen(server, address));
  return { context, close: () => closer.close() };
}

/** What a killed process left half-done: claims first, then announcements; each is safe to repeat. */
async function finishInterrupted(context: ControlContext): Promise<void> {
  await settleClaims(context);
  for await (const [id, design] of context.records.designs.list())
    if (design.pending) await announceDesign(context, id);
  for await (const [id, design] of context.records.designs.list())
    if (design.deletion?.announced === false) await announceDeletion(context, id);
  for await (const [id, design] of context.records.designs.list())
    if (design.setting?.announced === false) await announceMaintenance(context, id);
  for await (const [id, licence] of context.records.licences.list())
    if (licence.pending) await announceLicence(context, id);
  for await (const [id, print] of context.records.prints.list())
    if (print.permit?.announced === false) await announcePermit(context, id);
}

/** Attempts at a message of control's own mail. */
const GIVE_UP_AFTER = 20;

/** Control's own mail from the proactive nodes. */
function readOwnMail(context: ControlContext, checks: CheckBoard): Closable {
  const stop = new AbortController();
  const run = async () => {
    while (!stop.signal.aborted) {
      try {
        for (const delivery of await context.mailbox.poll('control', 'self', 20_000, stop.signal)) {
          let again = false;
          await handle(context, checks, delivery).catch((error: unknown) => {
            // A full disk passes; what is wrong stays wrong.
            const passes = error instanceof MillraceError && error.retryable && delivery.attempts < GIVE_UP_AFTER;
            again = passes || isDiskFault(error);
            context.logger.warn({ err: error, from: delivery.from, again }, 'a message was refused');
          });
          if (again) {
            await context.mailbox.release('control', [delivery.id]);
            await sleep(500, stop.signal);
          } else {
            await context.mailbox.acknowledge('control', [delivery.id]);
          }
        }
      } catch (error) {
        context.logger.error({ err: error }, 'own mail');
        await sleep(1_000, stop.signal).catch(() => undefined);
      }
    }
  };
  const running = run();
  return {
    close: async () => {
      stop.abort();
      await running;
    },
  };
}

const findingsSchema = z.object({
  deep: z.boolean(),
  problems: z.array(
    z.object({
      kind: z.string(),
      design: z.string().optional(),
      segments: z.array(z.number().int().nonnegative()).optional(),
    }),
  ),
});

async function handle(context: ControlContext, checks: CheckBoard, delivery: Delivery): Promise<void> {
  const message = await context.mailbox.open(delivery);
  const { records } = context;
  switch (message.type) {
    case 'design.stored': {
      const design = await records.designs.update(message.design, (current) =>
        current.deletion === undefined ? { ...current, state: 'stored' } : current,
      );
      if (design.state !== 'stored') return;
      await context.ledger.append({
        account: `design:${message.design}`,
        type: 'stored',
        actor: design.owner,
        body: { segments: design.segments },
        evidence: [design.transaction],
        eventId: `stored/${message.design}`,
      });
      return;
    }
    case 'design.refused': {
      const { code, reason } = message;
      // Segments that never arrived can still be uploaded; anything else is final.
      const state = code === 'E_UPLOAD' ? 'uploading' : 'refused';
      await records.designs.update(message.design, (current) =>
        current.state === 'stored' || current.deletion !== undefined ? current : { ...current, state, code, reason },
      );
      return;
    }
    case 'design.deleted':
      return takeDeleted(context, message);
    case 'design.maintained':
      return takeMaintained(context, message);
    case 'design.repaired':
      return takeRepaired(context, message);
    case 'stream.alarm':
      return takeAlarm(context, message, delivery.from);
    case 'check.result': {
      const report = decodeCbor(message.report, 'report');
      await takeFindings(context, parse(findingsSchema, report, 'report'));
      return checks.report(message.check, report);
    }
    default:
      throw new MillraceError('E_INPUT', `control has no use for ${message.type}`);
  }
}
