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
import { nodesOf } from '@millrace/protocol';
import type { NodeConfig } from '../config.ts';
import { acquireLease, type Lease, type LeaseRole } from './lease.ts';
import type { ProcessModules } from './modules.ts';

/** At its start, a process waits this long for a lease that nobody holds, ms, before it is on standby. */
const FIRST_MS = 1_000;
const RETRY_MS = 1_000;
/** Longest time for closing a node that is no longer active, ms. */
const CLOSE_MS = 20_000;

/** The time of a process as the active one. */
export interface Turn {
  readonly lease: Lease;
  /** Id of the lease's holder: this process, this time. */
  readonly holder: string;
}

/** Records in the keyspace of the node's state, whose requests do not depend on the lease. */
export type Leases = Pick<Cassandra, 'records'>;

/** What a process does while it is on standby. Closed before it becomes active. */
export interface Standby extends Closable {
  /** Works towards `isReady`. Called again until then. */
  prepare(signal: AbortSignal): Promise<void>;
}

export interface MemberOptions<P extends Closable> {
  readonly config: NodeConfig;
  readonly role: LeaseRole;
  /** What the holder of the lease is called: the node, or this replica of it. */
  readonly name: string;
  readonly openLeases: () => Promise<Leases & Closable>;
  readonly takeoverMs?: number | undefined;
  /** Whether this process has what it needs to become active. */
  readonly isReady: (leases: Leases) => Promise<boolean>;
  readonly openStandby: (leases: Leases) => Promise<Standby>;
  /**
   * Opens connections that a turn needs, ahead of it, so that a takeover does not wait for them.
   * @param check called before each request; throws when this process is no longer active
   */
  readonly open: (check: () => void) => Promise<P>;
  /** Builds the node; closing it closes `opened`. */
  readonly activate: (turn: Turn, opened: P) => Promise<Closable>;
}

/**
 * One of several processes, of which one is active: the holder of the lease. The others are on standby. Everything in
 * the memory of the active one may be lost, as in a restart, so that it is built anew whenever a process becomes active.
 * Resolves when the process is active or on standby.
 * @throws {MillraceError} E_CONFIG, E_UNAVAILABLE, E_TIMEOUT
 */
export async function runMember<P extends Closable>(
  options: MemberOptions<P>,
  modules: ProcessModules,
): Promise<Closable> {
  const { config, role, name } = options;
  const { clock } = modules;
  const logger = modules.logger.child({ node: name, role });
  const closer = new Closer();
  const leases = closer.add(await options.openLeases());
  const records = leases.records('leases');
  const stop = new AbortController();
  const retired = new AbortController();
  config.directories?.subscribe(() => {
    if (nodesOf(config.directory, config.id).length > 0) return;
    retired.abort(new MillraceError('E_DIRECTORY', `the directory no longer names the ${role} node ${config.id}`));
  });
  const either = AbortSignal.any([stop.signal, retired.signal]);
  const acquire = async (signal: AbortSignal): Promise<Turn> => {
    const holder = toHex(systemRandom(16));
    const { takeoverMs } = options;
    return { lease: await acquireLease({ role, records, holder, node: name, clock, takeoverMs }, signal), holder };
  };

  const first = async (): Promise<Turn | undefined> => {
    if (!(await options.isReady(leases))) return undefined;
    const early = AbortSignal.any([either, AbortSignal.timeout(FIRST_MS)]);
    return acquire(early).catch((error: unknown) => {
      if (early.aborted) return undefined;
      throw error;
    });
  };
  const wait = async (ready: () => void): Promise<Turn> => {
    const standby = await options.openStandby(leases);
    try {
      logger.info(`this ${role} process is on standby`);
      ready();
      while (!(await options.isReady(leases)))
        await standby.prepare(either).catch((error: unknown) => {
          logger.warn({ err: error }, 'not ready to become active; trying again');
          return sleep(RETRY_MS, either);
        });
      return await acquire(either);
    } finally {
      await standby.close();
    }
  };
  const serve = async (turn: Turn, ahead: Ahead<P>, ready: () => void): Promise<void> => {
    const { lease } = turn;
    let node: Closable | undefined;
    const ended = new Promise<void>((resolve) => {
      for (const signal of [lease.lost, either]) signal.addEventListener('abort', () => resolve(), { once: true });
      if (lease.lost.aborted || either.aborted) resolve();
    });
    let failure: unknown;
    try {
      logger.info({ token: lease.token }, `this ${role} process becomes active`);
      node = await options.activate(turn, await ahead.take(lease));
      logger.info({ token: lease.token }, `this ${role} process is active`);
      ready();
      await ended;
      if (lease.lost.aborted) logger.error({ err: lease.lost.reason }, `this ${role} process is no longer active`);
    } catch (error) {
      failure = error;
    }
    // Nothing is written while the parts close, unless the node is stopped in order.
    if (!stop.signal.aborted) lease.end('it is on standby now');
    const closing = (async () => node?.close())().catch((error: unknown) =>
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
    for (let starting = true; !either.aborted; ) {
      const ahead = new Ahead(options.open);
      let failure: unknown;
      try {
        const early = starting ? await first() : undefined;
        starting = early !== undefined;
        await serve(early ?? (await wait(ready)), ahead, ready);
      } catch (error) {
        const coded = toMillraceError(error);
        if (starting || either.aborted || !(coded.retryable || coded.code === 'E_FENCED')) throw error;
        failure = coded;
      } finally {
        await ahead.close();
      }
      starting = false;
      if (failure === undefined) continue;
      logger.error({ err: failure }, `this ${role} process did not become active`);
      await sleep(RETRY_MS, stop.signal);
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
    logger.fatal({ err: toMillraceError(failure) }, `this ${role} process ends`);
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

/** What one turn needs, opened before the turn begins. Its requests depend on the lease once there is one. */
class Ahead<P extends Closable> implements Closable {
  readonly #open: MemberOptions<P>['open'];
  #lease: Lease | undefined;
  #opened: Promise<P> | undefined;

  constructor(open: MemberOptions<P>['open']) {
    this.#open = open;
    this.#opened = this.#begin();
  }

  /** The caller closes what it takes. */
  async take(lease: Lease): Promise<P> {
    this.#lease = lease;
    const opened = this.#opened;
    this.#opened = undefined;
    // If it could not be opened ahead of time, it may be possible now.
    return opened?.catch(() => this.#begin()) ?? this.#begin();
  }

  async close(): Promise<void> {
    const opened = await this.#opened?.catch(() => undefined);
    this.#opened = undefined;
    await opened?.close();
  }

  #begin(): Promise<P> {
    const opened = this.#open(() => this.#lease?.check());
    opened.catch(() => undefined); // reported when it is taken
    return opened;
  }
}
