import type { Clock } from '@millrace/base';
import type { Addresses } from '@millrace/protocol';
import type { Installation } from '../installation/open.ts';
import { builtEntries, type Entries, machineProcess, nodeProcess, requireEntries } from './children.ts';
import type { BackOff, ProcessStatus } from './managed-process.ts';
import { chooseAddresses, type PortWishes } from './ports.ts';
import { createSupervisor, type Supervisor } from './supervisor.ts';

export interface UpOptions {
  readonly installation: Installation;
  readonly clock: Clock;
  readonly ports?: PortWishes;
  readonly entries?: Entries;
  readonly backOff?: BackOff;
  readonly onChange?: (status: ProcessStatus) => void;
  /** Registers users and machines with the control node; machines start after it. */
  register(addresses: Addresses): Promise<void>;
  /** Aborts the start: what runs already is stopped. */
  readonly signal?: AbortSignal;
}

export interface Running {
  readonly addresses: Addresses;
  readonly supervisor: Supervisor;
}

/**
 * Starts an installation: control, distribution, segments, keys, then the machines, each once the one before serves.
 * @throws {MillraceError} E_CONFLICT when it runs already, E_UNAVAILABLE when a process does not come up.
 */
export async function startInstallation(options: UpOptions): Promise<Running> {
  const { installation, clock, entries = builtEntries, signal } = options;
  const { layout, description } = installation;
  await requireEntries(entries);
  const supervisor = await createSupervisor({
    run: layout.run,
    clock,
    ...(options.backOff === undefined ? {} : { backOff: options.backOff }),
    ...(options.onChange === undefined ? {} : { onChange: options.onChange }),
  });
  // Stopping makes whatever start is under way reject.
  const abort = () => void supervisor.stop().catch(() => undefined);
  signal?.addEventListener('abort', abort, { once: true });
  try {
    const addresses = await chooseAddresses(options.ports);
    for (const role of ['control', 'distribution', 'segments', 'keys'] as const) {
      signal?.throwIfAborted();
      await supervisor.start(nodeProcess(entries, layout, role, addresses));
      if (role === 'distribution') await supervisor.publish(addresses);
    }
    signal?.throwIfAborted();
    await options.register(addresses);
    for (const { name } of description.machines) {
      signal?.throwIfAborted();
      await supervisor.start(machineProcess(entries, layout, name, addresses));
    }
    return { addresses, supervisor };
  } catch (error) {
    await supervisor.stop();
    throw error;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}
