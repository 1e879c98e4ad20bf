import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createApiClient, distributionRoutes } from '@millrace/api';
import {
  Backoff,
  type Clock,
  type Closable,
  Closer,
  decodeCbor,
  encodeCbor,
  fromHex,
  type Logger,
  MillraceError,
  type RandomSource,
  sleep,
  systemClock,
  systemRandom,
  toHex,
  toMillraceError,
} from '@millrace/base';
import { keyName } from '@millrace/identity';
import { createEngine, createReceiver, secretMemory } from '@millrace/live-matrix';
import {
  type Address,
  type AskDirectory,
  addressesOf,
  createRingClient,
  type DirectoryPolling,
  fetchRevocations,
  pollDirectory,
  pollRevocations,
  tlsTo,
  watchDirectory,
} from '@millrace/protocol';
import { PointsPool } from '@millrace/vault';
import type { Driver } from '../drivers/contract.ts';
import { Activity, type AgentStatus } from './activity.ts';
import { openBegunObjects } from './begun-objects.ts';
import { connectCloud } from './cloud-link.ts';
import type { MachineConfig } from './config.ts';
import { type ControlCalls, createControlCalls, isPassing } from './control-calls.ts';
import { type ControllerCheck, openControllerCheck } from './controller-check.ts';
import { Inbox } from './inbox.ts';
import { LiveCamera } from './live-camera.ts';
import { createReports } from './machine-reports.ts';
import { openOdometer } from './odometer.ts';
import { Operator } from './operator.ts';
import type { OperatorRequest } from './operator-messages.ts';
import { serveOperator } from './operator-socket.ts';
import { openOutbox } from './outbox.ts';
import { makeFromPackage, type PackageQueue } from './packages/make-package.ts';
import type { AgentParts } from './parts.ts';
import { Print } from './print.ts';
import { rehearse } from './rehearsal.ts';
import { openRunStore, type RunRecord } from './run-record.ts';
import { openSpoolState } from './spool-state.ts';
import { createTables } from './tables.ts';
import { takeSettings } from './take-settings.ts';
import { defaultTiming, type Timing } from './timing.ts';
import { isVisit, Visits } from './visits.ts';

export interface AgentOptions {
  readonly config: MachineConfig;
  /** Address of the distribution node if the directory does not list one. */
  readonly distribution: () => Address;
  readonly timing?: Partial<Timing>;
  /** For the driver of a workstation: it makes objects from these job packages, and from nothing else. */
  readonly packages?: PackageQueue;
}

export interface AgentModules {
  readonly logger: Logger;
  readonly clock?: Clock;
  readonly random?: RandomSource;
  /** Creates the driver. Default: the driver of the configured kind. */
  readonly driver?: (config: MachineConfig) => Promise<Driver>;
  readonly receiver?: typeof createReceiver;
}

/** Parts of the agent at its own cloud. */
type OwnParts = AgentParts & {
  readonly calls: ControlCalls;
  readonly visits: Visits;
  readonly controller: ControllerCheck;
  readonly packages: PackageQueue | undefined;
  /** Aborted when settings came that the agent has to start with. */
  readonly changed: AbortController;
};

/** A running agent. Closing it during a print cancels the print and reports it. */
export interface Agent extends Closable {
  /** For people at the machine. */
  status(): AgentStatus;
  /** Aborted when its settings have changed: it takes no more work, and has to be started again. */
  readonly changed: AbortSignal;
  close(): Promise<void>;
}

/**
 * The program beside the machine: keeps a link to the distribution node, asks control for work, makes one object at a
 * time and reports what the machine did. It can start without a connection.
 * @throws {MillraceError} E_INPUT for a wrong setting of the driver, E_STORE, E_ENGINE
 */
export async function createAgent(options: AgentOptions, modules: AgentModules): Promise<Agent> {
  const { config } = options;
  const { logger, clock = systemClock, random = systemRandom } = modules;
  const timing = { ...defaultTiming, ...options.timing };
  const stop = new AbortController();
  const closer = new Closer();
  try {
    for (const folder of ['objects', 'reports']) {
      await mkdir(join(config.data, folder), { recursive: true, mode: 0o700 });
    }
    const signer = { key: config.machineKey, installation: config.directory.installation };
    let operator: Operator | undefined;
    // First of all: two agents must not work with the same state.
    const command = async (request: OperatorRequest) => {
      if (operator === undefined) throw new MillraceError('E_STATE', 'the agent starts: try again');
      return operator.command(request);
    };
    closer.add(await serveOperator(config.folder, command, logger));
    const driver = closer.add(await (modules.driver ?? configuredDriver)(config));
    let polling: DirectoryPolling | undefined;
    const inbox = new Inbox(keyName(config.machineKey.publicKey));
    const addresses = () => addressesOf(config.directory, 'distribution', options.distribution);
    const link = closer.add(
      connectCloud(
        {
          addresses,
          directory: config.directory,
          tls: () => config.tls,
          logger,
          quietMs: timing.quietMs,
        },
        {
          stream: (message) => inbox.deliver(message),
          lost: () => inbox.linkLost(),
          open: () => polling?.askNow(),
          directory: (sequence) => polling?.heard(sequence),
        },
      ),
    );
    const { renewal } = config;
    let refreshRevocations = async (_signal: AbortSignal): Promise<void> => undefined;
    if (renewal !== undefined) {
      closer.add(watchDirectory(renewal, () => undefined, logger));
      const tls = tlsTo(config.directory, 'distribution', () => config.tls);
      // All nodes in turn, so that a single one, such as one that was retired, cannot withhold a newer directory.
      const http = closer.add(createRingClient(addresses, { tls }));
      const ask: AskDirectory = async (query, options) => {
        for (let left = addresses().length - 1; ; left--) {
          try {
            return await directory.newest(query, options);
          } catch (error) {
            if (left <= 0 || options.signal?.aborted === true) throw error;
          }
        }
      };
      const everyMs = timing.directoryMs;
      const { directory, revocations } = createApiClient(distributionRoutes, {
        transport: http,
        cbor: {
          encode: (value) => encodeCbor(value as never),
          decode: (bytes) => decodeCbor(bytes, 'answer of the node'),
        },
      });
      polling = closer.add(pollDirectory({ asks: [ask], file: renewal, logger, everyMs }));
      closer.add(pollRevocations({ ask: revocations.get, file: renewal, logger, everyMs }));
      refreshRevocations = (signal) => refreshed(fetchRevocations(revocations.get, renewal, logger, signal), logger);
    }
    const calls = createControlCalls(link, timing);
    const outbox = closer.add(
      await openOutbox({ folder: join(config.data, 'reports'), calls, link, timing, logger, signer }),
    );
    const tables = createTables(config, { clock, random, logger, receiver: modules.receiver ?? createReceiver });
    const { name, detail } = createEngine(config.agent.engine === 'gpu' ? 'auto' : config.agent.engine);
    logger.info({ engine: name, detail, driver: driver.kind }, 'agent started');
    const spool = await openSpoolState(config.data, signer, {
      machine: keyName(config.machineKey.publicKey),
      material: config.material,
      directory: config.directory,
      clock,
      logger,
    });
    const odometer = await openOdometer(config.data, signer, { telemetry: () => driver.telemetry(), spool });
    const report = createReports({ config, outbox, clock, random, spool, odometer });
    const runs = openRunStore(config.data, signer);
    const begun = await openBegunObjects(config.data, signer);
    const points = closer.add(new PointsPool(1));
    const activity = new Activity(clock, driver, () => link.connected);
    operator = await Operator.open(config.folder, signer, { driver, clock, logger });
    const state = { operator, outbox, report, runs, begun, spool, odometer, activity };
    const own = {
      config,
      driver,
      link,
      inbox,
      calls,
      commands: calls,
      refreshRevocations,
      ...state,
      tables,
      points,
      secrets: secretMemory(),
    };
    const common = { ...own, clock, random, timing, logger };
    const changed = new AbortController();
    const visits = closer.add(new Visits(common));
    const controller = openControllerCheck(signer, common);
    const parts: OwnParts = { ...common, changed, visits, controller, packages: options.packages };
    await reportUnfinished(parts);
    await parts.visits.start();
    const { token } = config.machineKey;
    if (token === undefined)
      logger.warn(
        'the machine’s key is in a file: whoever copies this folder can act as the machine (docs/machines.md)',
      );
    // Nothing can be signed without the token, so the machine stops at once.
    if (config.camera?.live === true) closer.add(new LiveCamera(parts, calls, config.camera));
    const working = work(parts, token === undefined ? stop.signal : AbortSignal.any([stop.signal, token.lost]));
    return {
      status: () => ({ ...activity.status(), held: operator.status.held?.cause }),
      changed: changed.signal,
      close: async () => {
        stop.abort(new MillraceError('E_STATE', 'the agent stops', { data: { stopped: true } }));
        await working;
        await closer.close();
      },
    };
  } catch (error) {
    await closer.close();
    throw error;
  }
}

/** Without an answer, use the state already known. If the cloud withholds a revocation, the owner notices. */
async function refreshed(fetching: Promise<unknown>, logger: Logger): Promise<void> {
  try {
    await fetching;
  } catch (error) {
    logger.warn({ err: toMillraceError(error) }, 'cannot ask for revoked keys: going on with those that are known');
  }
}

/** The driver of the machine's kind. The machine's settings override those derived from its profile. */
function configuredDriver({ drivers, kind, serial, profile, driver, safety }: MachineConfig): Promise<Driver> {
  const settings = { serial, ...drivers.get(kind).settingsFor(profile), ...driver };
  return drivers.create(kind, settings, { secrets: secretMemory(), ...(safety === undefined ? {} : { safety }) });
}

/** Reports a run that was unfinished when the agent was killed: the object on the machine is incomplete. */
async function reportUnfinished({ runs, report, visits, odometer, packages, logger }: OwnParts): Promise<void> {
  const record = await runs.read();
  if (record === undefined || !record.started || record.object === undefined) return;
  const { object, run, segments, sealed } = record;
  logger.error({ object, segments }, 'the agent was killed during a print; reporting the print as failed');
  await odometer.end();
  const place = sealed === undefined ? {} : { sealed: fromHex(sealed) };
  const facts = { segments, code: 'E_MACHINE', ...place };
  if (isVisit(record)) await visits.report(record, 'failed', facts);
  else await report({ object, run, started: true }, 'failed', facts);
  if (record.package !== undefined) await packages?.interrupted?.(record.package);
  await runs.clear();
}

async function work(parts: OwnParts, signal: AbortSignal): Promise<void> {
  const { logger, timing, activity, changed } = parts;
  const backoff = new Backoff(timing.backoff);
  while (!signal.aborted && !changed.signal.aborted) {
    try {
      const outcome = await nextObject(parts, signal);
      if (outcome === 'completed' || outcome === 'failed' || outcome === 'none') {
        backoff.reset();
        continue;
      }
    } catch (cause) {
      if (signal.aborted) return;
      const error = toMillraceError(cause);
      activity.failed(error);
      if (isPassing(error)) logger.warn({ err: error }, 'cannot ask control for work; trying again');
      else logger.error({ err: error }, 'asking control for work failed; trying again');
    }
    await sleep(backoff.next(), signal).catch(() => undefined);
  }
}

async function nextObject(parts: OwnParts, signal: AbortSignal) {
  const { link, operator, outbox, runs, tables, activity, packages, controller } = parts;
  const whenReady = async () => {
    if (operator.isHalted) activity.step('held');
    await operator.whenFree(signal);
    activity.step('machine');
    await controller.require();
  };
  await whenReady();
  if (packages === undefined) await tables.measure(signal);
  activity.step('cloud');
  await link.whenConnected(signal);
  // Send reports of earlier prints first: control considers this machine busy until it has them.
  activity.step('reports');
  await outbox.whenEmpty(signal);
  activity.step('work');
  if (packages !== undefined) {
    const queued = await whileRehearsing(parts, () => packages.next(signal), signal);
    await whenReady(); // hours may have passed
    activity.step('print');
    return await makeFromPackage(parts, { queued, driverKey: packages.driverKey }, signal);
  }
  const record = (await runs.read()) ?? (await newRun(parts, signal));
  if (record === undefined) return 'none';
  activity.step('machine');
  await controller.require(); // it may have been unplugged or replaced
  activity.step('print');
  return isVisit(record) ? await parts.visits.make(record, signal) : await new Print(parts, record, signal).run();
}

/** Answers rehearsals until `wait` has ended. */
async function whileRehearsing<T>(parts: OwnParts, wait: () => Promise<T>, signal: AbortSignal): Promise<T> {
  const over = new AbortController();
  const answering = answerRehearsals(parts, AbortSignal.any([signal, over.signal]));
  try {
    return await wait();
  } finally {
    over.abort();
    await answering;
  }
}

async function answerRehearsals(parts: OwnParts, signal: AbortSignal): Promise<void> {
  const { calls, spool, timing, logger, controller } = parts;
  const backoff = new Backoff(timing.backoff);
  while (!signal.aborted) {
    try {
      const next = await calls.rehearsal(signal);
      backoff.reset();
      if (next === undefined) continue;
      await spool.take(next.spool);
      await controller.require(); // hours may have passed
      await rehearse(parts, next.rehearsal);
    } catch (cause) {
      if (signal.aborted) return;
      logger.warn({ err: toMillraceError(cause) }, 'cannot answer rehearsals; trying again');
      await sleep(backoff.next(), signal).catch(() => undefined);
    }
  }
}

async function newRun(parts: OwnParts, signal: AbortSignal): Promise<RunRecord | undefined> {
  const { calls, random, spool } = parts;
  const next = await calls.next(signal);
  if (next === undefined) return undefined;
  await spool.take(next.spool);
  if ('settings' in next) {
    if (await takeSettings(parts, next.settings)) parts.changed.abort();
    return undefined;
  }
  if ('rehearsal' in next) {
    await rehearse(parts, next.rehearsal);
    return undefined;
  }
  const { print, visit } = next;
  const begun = { print, run: toHex(random(16)), started: false, segments: 0 };
  return visit === undefined ? begun : { ...begun, visit };
}
