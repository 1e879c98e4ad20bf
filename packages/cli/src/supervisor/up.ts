import { type Clock, MillraceError } from '@millrace/base';
import { readSettings } from '@millrace/cloud';
import type { Addresses } from '@millrace/protocol';
import { finishRestoring } from '../backup/swap.ts';
import type { Installation } from '../installation/open.ts';
import { commandName } from '../output/command-name.ts';
import { finishRotation } from '../rotation/finish.ts';
import { nodePlaces } from '../rotation/places.ts';
import { noProcesses } from '../rotation/processes.ts';
import { asOnlyRotation } from '../rotation/rotate.ts';
import { builtEntries, type Entries, machineProcess, nodeProcess, requireEntries } from './children.ts';
import type { BackOff, ProcessStatus } from './managed-process.ts';
import { areFree, chooseAddresses, defaultPorts, type PreferredPorts } from './ports.ts';
import { createSupervisor, type Supervisor } from './supervisor.ts';

const START_ATTEMPTS = 4;

export interface UpOptions {
  readonly installation: Installation;
  readonly clock: Clock;
  readonly ports?: PreferredPorts;
  readonly entries?: Entries;
  readonly backOff?: BackOff;
  readonly onChange?: (status: ProcessStatus) => void;
  /** Runs before anything starts, with exclusive access to the installation. */
  prepare?(): Promise<void>;
  /** Registers users and machines with the control node. Machines start after it. */
  register(addresses: Addresses): Promise<void>;
  /** Aborts the start; running processes are stopped. */
  readonly signal?: AbortSignal;
}

export interface Running {
  readonly addresses: Addresses;
  /** Address of the console in its settings. Default: http://localhost with the port. */
  readonly consoleOrigin?: string | undefined;
  readonly supervisor: Supervisor;
}

/**
 * Starts an installation: control, distribution, segments, keys, then the machines, each once the previous one serves.
 * @throws {MillraceError} E_CONFLICT if it already runs, E_UNAVAILABLE if a process does not start
 */
export async function startInstallation(options: UpOptions): Promise<Running> {
  const { installation, clock, entries = builtEntries, signal } = options;
  const { layout, description } = installation;
  await requireEntries(entries);
  if (nodePlaces(installation).length === 0)
    throw new MillraceError(
      'E_STATE',
      `the nodes of this installation are on hosts of their own: \`${commandName} node list\``,
    );
  const supervisor = await createSupervisor({
    run: layout.run,
    clock,
    ...(options.backOff === undefined ? {} : { backOff: options.backOff }),
    ...(options.onChange === undefined ? {} : { onChange: options.onChange }),
  });
  // Stopping rejects the start in progress.
  const abort = () => void supervisor.stop().catch(() => undefined);
  signal?.addEventListener('abort', abort, { once: true });
  try {
    await finishRestoring(layout);
    await asOnlyRotation(installation, () => finishRotation({ installation, processes: noProcesses, clock, signal }));
    await options.prepare?.();
    const addresses = await startPassive(options, supervisor, entries);
    await supervisor.publish(addresses);
    for (const role of ['segments', 'keys'] as const) {
      signal?.throwIfAborted();
      await supervisor.start(nodeProcess(entries, layout, role, addresses));
    }
    signal?.throwIfAborted();
    await options.register(addresses);
    for (const { name, elsewhere } of description.machines) {
      if (elsewhere) continue;
      signal?.throwIfAborted();
      await supervisor.start(machineProcess(entries, layout, name, addresses));
    }
    const { console: pages } = await readSettings(layout.node('control'));
    return { addresses, consoleOrigin: pages?.origin, supervisor };
  } catch (error) {
    await supervisor.stop();
    throw error;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

/**
 * Starts control and distribution. Another program, such as a second installation starting at the same time, may take a
 * port between the check and the listen call. Other ports are then chosen.
 */
async function startPassive(options: UpOptions, supervisor: Supervisor, entries: Entries): Promise<Addresses> {
  const { installation, ports, signal } = options;
  const { ledger: settings, console: pages } = await readSettings(installation.layout.node('control'));
  const { browsers: uploads } = await readSettings(installation.layout.node('distribution'));
  for (let attempt = 1; ; attempt += 1) {
    const usual = attempt === 1 ? defaultPorts : { control: undefined, distribution: undefined };
    const { ledger, console: free, browsers, ...nodes } = await chooseAddresses(ports, usual);
    const listeners = {
      ledger: settings?.listen ?? ledger,
      console: pages?.listen ?? free,
      browsers: uploads?.listen ?? browsers,
    };
    const addresses: Addresses = {
      ...nodes,
      ...(listeners.ledger !== false && { ledger: listeners.ledger }),
      ...(listeners.console !== false && { console: listeners.console }),
      ...(listeners.console !== false && listeners.browsers !== false && { browsers: listeners.browsers }),
    };
    try {
      for (const role of ['control', 'distribution'] as const) {
        signal?.throwIfAborted();
        await supervisor.start(nodeProcess(entries, installation.layout, role, addresses));
      }
      return addresses;
    } catch (error) {
      if (signal?.aborted || attempt === START_ATTEMPTS) throw error;
      await supervisor.reset();
      if (await areFree(addresses)) throw error;
    }
  }
}
