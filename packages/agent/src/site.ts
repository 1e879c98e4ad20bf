import { chown, mkdir, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  Backoff,
  type Clock,
  type Closable,
  fileExists,
  type Logger,
  MillraceError,
  type RandomSource,
  sleep,
  toMillraceError,
} from '@millrace/base';
import type { TokenIdentity } from '@millrace/identity';
import type { NewToken } from '@millrace/machine/admin';
import { type Agent, createAgent, loadMachineConfig } from '@millrace/machine/agent';
import type { Address } from '@millrace/protocol';
import { isPaired, readCloud } from './pairing/machine-folder.ts';
import { type PairingStep, pair } from './pairing/pair.ts';

/** Maximum number of machines of one agent. */
export const MAX_MACHINES = 20;
/** Interval between looks for machines that were added, ms. */
const LOOK_MS = 2_000;
const STUCK_MS = 60_000;
/** After this time of work, the next failure is not one of a row, ms. */
const STEADY_MS = 10 * 60_000;

/** A machine of this site, as the local page shows it. */
export interface SiteMachine {
  /** Name of its folder. */
  readonly slot: string;
  readonly state:
    | PairingStep
    | {
        readonly step: 'running';
        readonly name: string;
        readonly serial: string;
        readonly kind: string;
        readonly agent: Agent;
        /** Number of the settings from elsewhere that apply. */
        readonly settings?: number | undefined;
      }
    /** The agent of this machine does not start. */
    | { readonly step: 'failed'; readonly error: MillraceError }
    | { readonly step: 'starting' };
  /** Where the identity key is, once it is open. */
  readonly key?: { readonly token?: TokenIdentity | undefined } | undefined;
  /** While pairing: why the cloud does not answer. */
  readonly cloud?: MillraceError | undefined;
}

export interface SiteOptions {
  /** Holds a folder for each machine. */
  readonly folder: string;
  /** Needed until every machine is paired. */
  readonly cloud: Address | undefined;
  /** Where new machines make their keys. By default, in files. */
  readonly token?: NewToken | undefined;
  /** Interval between calls to control during pairing, ms. */
  readonly pairingMs?: number | undefined;
  /** After this time without any machine that has its token, `Site.stuck` is aborted; ms. */
  readonly stuckMs?: number | undefined;
}

export interface SiteModules {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly random: RandomSource;
}

export interface Site extends Closable {
  readonly machines: readonly SiteMachine[];
  /**
   * Aborted with E_HSM once no machine can work because of its token. Some modules see a token that was put back only in
   * a new process.
   */
  readonly stuck: AbortSignal;
  close(): Promise<void>;
}

const machinesFolder = (folder: string): string => join(folder, 'machines');

/** The folders of the machines of a site, sorted. Other folders there are no machines. */
export async function slotsOf(folder: string): Promise<string[]> {
  const root = machinesFolder(folder);
  if (!(await fileExists(root))) return [];
  const entries = await readdir(root, { withFileTypes: true });
  const isSlot = /^[1-9]\d{0,5}$/;
  return entries
    .flatMap((entry) => (entry.isDirectory() && isSlot.test(entry.name) ? [entry.name] : []))
    .sort((a, b) => Number(a) - Number(b));
}

export const slotFolder = (folder: string, slot: string): string => join(machinesFolder(folder), slot);

/**
 * Adds a folder for one more machine. A running agent notices it and shows a code.
 * @throws {MillraceError} E_QUOTA beyond `MAX_MACHINES`
 */
export async function addMachine(folder: string): Promise<string> {
  const slots = await slotsOf(folder);
  if (slots.length >= MAX_MACHINES)
    throw new MillraceError('E_QUOTA', `one agent drives at most ${MAX_MACHINES} machines`);
  const slot = String(Math.max(0, ...slots.map(Number)) + 1);
  await mkdir(machinesFolder(folder), { recursive: true, mode: 0o700 });
  await mkdir(slotFolder(folder, slot), { mode: 0o700 });
  // An administrator may add a machine for the service's user.
  const { uid, gid } = await stat(folder);
  if (process.getuid?.() === 0)
    for (const made of [machinesFolder(folder), slotFolder(folder, slot)]) await chown(made, uid, gid);
  return slot;
}

/**
 * Runs the machines of a site, each with keys, pairing and queue of its own. A machine that cannot work does not stop
 * the others.
 */
export async function startSite(options: SiteOptions, modules: SiteModules): Promise<Site> {
  const { folder } = options;
  if ((await slotsOf(folder)).length === 0) await addMachine(folder);
  const { stuckMs = STUCK_MS } = options;
  const stop = new AbortController();
  const machines = new Map<string, SiteMachine>();
  const stuck = new AbortController();
  let stuckSince: number | undefined;
  const running: Promise<void>[] = [];
  const startNew = async () => {
    for (const slot of (await slotsOf(folder)).slice(0, MAX_MACHINES)) {
      if (machines.has(slot)) continue;
      machines.set(slot, { slot, state: { step: 'starting' } });
      const update = (change: Partial<SiteMachine>) =>
        machines.set(slot, { ...(machines.get(slot) as SiteMachine), ...change });
      running.push(runMachine(slot, options, modules, update, stop.signal));
    }
  };
  const lookForTokens = () => {
    const now = modules.clock.monotonic();
    const errors = [...machines.values()].map(({ state }) => (state.step === 'failed' ? state.error : undefined));
    stuckSince = errors.every((error) => error?.code === 'E_HSM') ? (stuckSince ?? now) : undefined;
    if (stuckSince !== undefined && now - stuckSince >= stuckMs) stuck.abort(errors[0]);
  };
  await startNew();
  const looking = (async () => {
    while (!stop.signal.aborted) {
      await sleep(LOOK_MS, stop.signal).catch(() => undefined);
      if (!stop.signal.aborted)
        await startNew().catch((error: unknown) =>
          modules.logger.warn({ err: toMillraceError(error) }, 'cannot look for added machines'),
        );
      lookForTokens();
    }
  })();
  return {
    get machines() {
      return [...machines.values()];
    },
    stuck: stuck.signal,
    close: async () => {
      stop.abort(new MillraceError('E_STATE', 'the agent stops', { data: { stopped: true } }));
      await looking;
      await Promise.all(running);
    },
  };
}

/** Pairs the machine if necessary, then runs its agent until the site stops. */
async function runMachine(
  slot: string,
  options: SiteOptions,
  { clock, random, ...modules }: SiteModules,
  update: (change: Partial<SiteMachine>) => void,
  signal: AbortSignal,
): Promise<void> {
  const folder = slotFolder(options.folder, slot);
  const logger = modules.logger.child({ machine: slot });
  const backoff = new Backoff({ firstMs: 1_000, mostMs: 60_000 });
  while (!signal.aborted) {
    const began = clock.monotonic();
    try {
      if (!(await isPaired(folder))) {
        const { cloud, pairingMs, token } = options;
        if (cloud === undefined)
          throw new MillraceError('E_CONFIG', 'the machine is not paired: start the agent with --cloud HOST:PORT');
        await pair(
          { folder, cloud, everyMs: pairingMs, additional: slot !== '1', token },
          {
            ...{ logger, clock, random, signal },
            onKey: (key) => update({ key: { token: key.token?.identity } }),
            onStep: (state) => update({ state }),
            onCloud: (error) => update({ cloud: error }),
          },
        );
      }
      const config = await loadMachineConfig(folder, clock);
      const { machineKey, serial, kind } = config;
      try {
        const { name, distribution } = await readCloud(folder);
        const agent = await createAgent({ config, distribution: () => distribution }, { logger, clock, random });
        const key = { token: machineKey.token?.identity };
        const settings = config.remote?.number;
        update({ state: { step: 'running', name, serial, kind, agent, settings }, key, cloud: undefined });
        const lost = machineKey.token?.lost;
        await aborted(AbortSignal.any([signal, agent.changed, ...(lost === undefined ? [] : [lost])]));
        await agent.close();
        lost?.throwIfAborted();
      } finally {
        machineKey.close();
      }
    } catch (cause) {
      if (signal.aborted) return;
      const error = toMillraceError(cause);
      logger.error({ err: error }, 'the machine’s agent does not start; trying again');
      update({ state: { step: 'failed', error } });
      if (clock.monotonic() - began >= STEADY_MS) backoff.reset();
      await sleep(backoff.next(), signal).catch(() => undefined);
    }
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
