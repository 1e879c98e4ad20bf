import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, writeDurably } from '@millrace/base';
import { makeFolder, toJsonFile } from '@millrace/client/node';
import { acquireLock, type Lock } from './lock.ts';
import { openLogFile } from './log-file.ts';
import { type BackOff, ManagedProcess, type ProcessSpec, type ProcessStatus } from './managed-process.ts';
import type { RunPaths } from './run-paths.ts';
import type { SupervisorStatus } from './status.ts';

export interface SupervisorOptions {
  readonly run: RunPaths;
  readonly clock: Clock;
  readonly backOff?: BackOff;
  readonly env?: NodeJS.ProcessEnv;
  readonly logLimit?: number;
  readonly onChange?: (status: ProcessStatus) => void;
}

/** Keeps processes running. They start in the order of the `start` calls and stop in reverse order. */
export interface Supervisor {
  /** @throws {MillraceError} E_UNAVAILABLE if it does not start */
  start(spec: ProcessSpec): Promise<void>;
  /** Written to run/addresses.json for clients. */
  publish(addresses: unknown): Promise<void>;
  status(): SupervisorStatus;
  /** Stops all processes and forgets them, for a new start. */
  reset(): Promise<void>;
  stop(): Promise<void>;
  /** Kills all processes immediately, when the user presses Ctrl-C again. */
  kill(): void;
}

/** @throws {MillraceError} E_CONFLICT if another supervisor runs this installation */
export async function createSupervisor(options: SupervisorOptions): Promise<Supervisor> {
  const { run, clock } = options;
  await makeFolder(run.logs);
  const lock = await acquireLock(run.lock);
  return new ProcessSupervisor(options, lock, new Date(clock.now()).toISOString());
}

class ProcessSupervisor implements Supervisor {
  readonly #options: SupervisorOptions;
  readonly #lock: Lock;
  readonly #started: string;
  readonly #processes: { process: ManagedProcess; close: () => void }[] = [];
  #written: Promise<void> = Promise.resolve();
  #stopped: Promise<void> | undefined;

  constructor(options: SupervisorOptions, lock: Lock, started: string) {
    this.#options = options;
    this.#lock = lock;
    this.#started = started;
  }

  async start(spec: ProcessSpec): Promise<void> {
    const { run, clock, backOff, env, logLimit } = this.#options;
    const log = openLogFile(join(run.logs, `${spec.name}.jsonl`), spec.name, logLimit);
    const managed = new ManagedProcess(spec, {
      clock,
      log,
      ...(backOff === undefined ? {} : { backOff }),
      ...(env === undefined ? {} : { env }),
      changed: () => this.#changed(managed),
    });
    this.#processes.push({ process: managed, close: () => log.close() });
    await managed.start();
  }

  publish(addresses: unknown): Promise<void> {
    return writeDurably(this.#options.run.addresses, toJsonFile(addresses));
  }

  status(): SupervisorStatus {
    return {
      supervisor: process.pid,
      started: this.#started,
      processes: this.#processes.map(({ process }) => process.status()),
    };
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stopAll();
    return this.#stopped;
  }

  kill(): void {
    for (const { process } of this.#processes) process.kill();
  }

  async reset(): Promise<void> {
    for (const { process, close } of [...this.#processes].reverse()) {
      await process.stop();
      close();
    }
    this.#processes.length = 0;
  }

  async #stopAll(): Promise<void> {
    for (const { process, close } of [...this.#processes].reverse()) {
      await process.stop();
      close();
    }
    await this.#written;
    const { run } = this.#options;
    await rm(run.addresses, { force: true });
    await rm(run.status, { force: true });
    await this.#lock.release();
  }

  #changed(managed: ManagedProcess): void {
    this.#options.onChange?.(managed.status());
    const write = () => writeDurably(this.#options.run.status, toJsonFile(this.status()));
    // A status that cannot be written (full disk) must not end the processes.
    this.#written = this.#written.then(write).catch(() => undefined);
  }
}
