import {
  type Closable,
  Closer,
  MillraceError,
  sleep,
  systemRandom,
  toHex,
  toMillraceError,
  within,
} from '@millrace/base';
import type { Cassandra } from '@millrace/cluster';
import { type Address, createHttpClient, nodesOf, tlsTo } from '@millrace/protocol';
import type { RecordStore } from '@millrace/stores';
import type { NodeConfig } from '../config.ts';
import { controlClient } from '../node/api-clients.ts';
import { followDirectory } from '../node/follow-directory.ts';
import type { ProcessModules } from '../node/modules.ts';
import { renewTls, type TlsServer } from '../node/server.ts';
import type { ControlNode } from './control-node.ts';
import { openFront } from './front.ts';
import { acquireLease, isHeldBy, type Lease } from './lease.ts';
import { hasSharedKeys, takeSharedKeys } from './shared-keys.ts';

/** At its start, a node waits this long for a lease that nobody holds, ms, before it is on standby. */
const FIRST_MS = 1_000;
const RETRY_MS = 1_000;
/** Longest time for closing a node that is no longer active, ms. */
const CLOSE_MS = 20_000;

/** The time of a node as the active one. */
export interface Turn {
  readonly lease: Lease;
  /** Id of the lease's holder: this process, this time. */
  readonly holder: string;
  /** Serves the API while the lease is current. */
  serve(server: TlsServer): Promise<Closable>;
}

export interface MemberOptions {
  readonly config: NodeConfig;
  /** Opens the store of the lease, whose requests do not depend on the lease. */
  readonly openLeases: () => Promise<Pick<Cassandra, 'records' | 'close'>>;
  readonly takeoverMs?: number | undefined;
  readonly address: Address;
  /** Opens stores and node. Their requests are refused while the lease is not current. */
  readonly activate: (turn: Turn) => Promise<ControlNode>;
}

/**
 * A control node that shares its state with others in a cluster. It is active while it holds the lease, and otherwise on
 * standby. Everything in the memory of a control node may be lost, as in a restart, so that it is built anew whenever a
 * node becomes active. Resolves when the node is active or on standby.
 * @throws {MillraceError} E_CONFIG, E_UNAVAILABLE, E_TIMEOUT
 */
export async function runMember(options: MemberOptions, modules: ProcessModules): Promise<Closable> {
  const { config } = options;
  const { clock } = modules;
  const logger = modules.logger.child({ node: config.id, role: 'control' });
  const closer = new Closer();
  const leases = closer.add(await options.openLeases());
  const records = leases.records('leases');
  const front = closer.add(await openFront(config, options.address, logger));
  const stop = new AbortController();
  const retired = new AbortController();
  config.directories?.subscribe(() => {
    renewTls(front.server, config);
    if (nodesOf(config.directory, config.id).length > 0) return;
    retired.abort(new MillraceError('E_DIRECTORY', `the directory no longer names the control node ${config.id}`));
  });
  const either = AbortSignal.any([stop.signal, retired.signal]);
  const acquire = (signal: AbortSignal) => {
    const holder = toHex(systemRandom(16));
    const { takeoverMs } = options;
    return acquireLease({ records, holder, node: config.id, clock, takeoverMs }, signal).then((lease) => ({
      lease,
      holder,
    }));
  };

  type Held = Awaited<ReturnType<typeof acquire>>;
  const first = async (): Promise<Held | undefined> => {
    if (!(await hasSharedKeys(config))) return undefined;
    const early = AbortSignal.any([either, AbortSignal.timeout(FIRST_MS)]);
    return acquire(early).catch((error: unknown) => {
      if (early.aborted) return undefined;
      throw error;
    });
  };
  const wait = async (ready: () => void): Promise<Held> => {
    const standby = new Closer();
    try {
      const others = standby.add(connectOthers(config));
      standby.add(followDirectory(config, { logger, sources: [others.control] }));
      logger.info('this control node is on standby');
      ready();
      while (!(await hasSharedKeys(config)))
        await takeKeys(config, others.control, records).catch((error: unknown) => {
          logger.warn({ err: error }, 'the keys of the control nodes are not here yet; asking again');
          return sleep(RETRY_MS, either);
        });
      return await acquire(either);
    } finally {
      await standby.close();
    }
  };
  const serve = async ({ lease, holder }: Held, ready: () => void): Promise<void> => {
    let node: ControlNode | undefined;
    const ended = new Promise<void>((resolve) => {
      for (const signal of [lease.lost, either]) signal.addEventListener('abort', () => resolve(), { once: true });
      if (lease.lost.aborted || either.aborted) resolve();
    });
    let failure: unknown;
    try {
      logger.info({ token: lease.token }, 'this control node becomes active');
      node = await options.activate({ lease, holder, serve: (server) => front.serve(server, lease) });
      logger.info({ token: lease.token }, 'this control node is active');
      ready();
      await ended;
      if (lease.lost.aborted) logger.error({ err: lease.lost.reason }, 'this control node is no longer active');
    } catch (error) {
      failure = error;
    }
    // Nothing is written while the parts close, unless the node is stopped in order.
    if (!stop.signal.aborted) lease.end('it is on standby now');
    const closing = (node?.close() ?? Promise.resolve()).catch((error: unknown) =>
      logger.warn({ err: error }, 'a part of the node was not closed in order'),
    );
    const closed = await within(
      closing.then(() => true),
      CLOSE_MS,
    );
    await lease.giveBack();
    if (failure !== undefined) throw failure;
    if (closed === undefined) throw new MillraceError('E_STATE', 'the node that was active does not end');
  };

  const run = async (ready: () => void): Promise<void> => {
    let held = await first();
    for (let starting = held !== undefined; !either.aborted; starting = false) {
      held ??= await wait(ready);
      try {
        await serve(held, ready);
      } catch (error) {
        const coded = toMillraceError(error);
        if (starting || !(coded.retryable || coded.code === 'E_FENCED')) throw error;
        logger.error({ err: coded }, 'this control node did not become active');
        await sleep(RETRY_MS, stop.signal);
      }
      held = undefined;
    }
    retired.signal.throwIfAborted();
  };
  let failure: unknown;
  const running = { done: Promise.resolve() };
  try {
    await new Promise<void>((resolve, reject) => {
      running.done = run(resolve).catch((error: unknown) => {
        if (stop.signal.aborted) return;
        failure = error;
        reject(error);
      });
    });
  } catch (error) {
    await closer.close();
    throw error;
  }
  // Neither active nor on standby: the process ends, and its service manager starts it again.
  void running.done.then(() => {
    if (failure === undefined) return;
    logger.fatal({ err: toMillraceError(failure) }, 'this control node ends');
    process.exit(toMillraceError(failure).exit);
  });
  return {
    close: async () => {
      stop.abort(new MillraceError('E_UNAVAILABLE', 'the node is closing'));
      await running.done;
      await closer.close();
    },
  };
}

/** A client of the other control nodes, of which the active one answers. */
function connectOthers(config: NodeConfig): Closable & { readonly control: ReturnType<typeof controlClient> } {
  const { directory, id } = config;
  const addresses = () => nodesOf(directory, 'control').flatMap((node) => (node.id === id ? [] : node.addresses));
  const http = createHttpClient({ addresses, tls: tlsTo(directory, 'control', () => config.tls) });
  return { control: controlClient(http), close: () => http.close() };
}

async function takeKeys(
  config: NodeConfig,
  control: ReturnType<typeof controlClient>,
  records: RecordStore,
): Promise<void> {
  await takeSharedKeys(config, await control.active.sharedKeys({}), (holder) => isHeldBy(records, holder));
}
