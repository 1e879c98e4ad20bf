import { type ChildProcess, spawn } from 'node:child_process';
import { type Clock, MillraceError } from '@millrace/base';
import { onLines } from './lines.ts';
import type { LogFile } from './log-file.ts';

/** The program to run: one Node program that writes `{"ready":true}` to standard output once it serves. */
export interface ProcessSpec {
  readonly name: string;
  readonly entry: string;
  readonly args: readonly string[];
  /** Options for Node. */
  readonly node?: readonly string[];
  /** Additional environment variables. Existing ones are kept. */
  readonly env?: Readonly<Record<string, string>>;
}

export type ProcessState = 'starting' | 'running' | 'waiting' | 'stopped';

export interface LastExit {
  readonly code: number | null;
  readonly signal: string | null;
  readonly time: string;
}

export interface ProcessStatus {
  readonly name: string;
  readonly state: ProcessState;
  readonly pid: number | null;
  readonly restarts: number;
  /** Start of the current state. */
  readonly since: string;
  readonly lastExit: LastExit | null;
}

export interface BackOff {
  readonly firstMs: number;
  readonly mostMs: number;
  /** A run this long resets the count of failures. */
  readonly resetAfterMs: number;
  readonly killAfterMs: number;
}

export const defaultBackOff: BackOff = { firstMs: 250, mostMs: 10_000, resetAfterMs: 30_000, killAfterMs: 10_000 };

/** Delay before the next start after `failures` short runs in a row. */
export function backOffDelay(failures: number, { firstMs, mostMs }: BackOff): number {
  return Math.min(mostMs, firstMs * 2 ** Math.min(failures, 30));
}

export interface ManagedOptions {
  readonly clock: Clock;
  readonly log: LogFile;
  readonly backOff?: BackOff;
  readonly env?: NodeJS.ProcessEnv;
  changed(): void;
}

/** Runs a program, and restarts it whenever it ends, until it is stopped. */
export class ManagedProcess {
  readonly #spec: ProcessSpec;
  readonly #options: ManagedOptions;
  readonly #backOff: BackOff;
  #child: ChildProcess | undefined;
  #timer: NodeJS.Timeout | undefined;
  #state: ProcessState = 'stopped';
  #since: string;
  #restarts = 0;
  #failures = 0;
  #started = 0;
  #lastExit: LastExit | null = null;
  #lastError = '';
  #stopping = false;
  #readyWaiters: { resolve: () => void; reject: (error: unknown) => void }[] = [];
  #neverReady = 0;
  #wasReady = false;

  constructor(spec: ProcessSpec, options: ManagedOptions) {
    this.#spec = spec;
    this.#options = options;
    this.#backOff = options.backOff ?? defaultBackOff;
    this.#since = this.#time();
  }

  status(): ProcessStatus {
    return {
      name: this.#spec.name,
      state: this.#state,
      pid: this.#child?.pid ?? null,
      restarts: this.#restarts,
      since: this.#since,
      lastExit: this.#lastExit,
    };
  }

  /**
   * Starts the program and waits until it serves.
   * @throws {MillraceError} E_UNAVAILABLE if it ended `attempts` times without serving
   */
  start(attempts = 3): Promise<void> {
    this.#neverReady = attempts;
    const ready = new Promise<void>((resolve, reject) => this.#readyWaiters.push({ resolve, reject }));
    this.#launch();
    return ready;
  }

  /** Asks the program to end, and kills it after `killAfterMs`. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#timer);
    this.#settleReady(new MillraceError('E_UNAVAILABLE', `${this.#spec.name} was stopped`));
    const child = this.#child;
    if (child === undefined) return this.#become('stopped');
    const gone = new Promise<void>((resolve) => child.once('close', () => resolve()));
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), this.#backOff.killAfterMs);
    await gone;
    clearTimeout(timer);
  }

  /** Kills the program immediately. */
  kill(): void {
    this.#stopping = true;
    clearTimeout(this.#timer);
    this.#child?.kill('SIGKILL');
  }

  #launch(): void {
    this.#started = this.#options.clock.monotonic();
    // The child gets a separate process session, so that Ctrl-C at the terminal reaches only the supervisor, which
    // stops everything in order. The IPC channel closes whenever the supervisor exits, and the child then ends.
    const { node = [], env, entry, args } = this.#spec;
    const child = spawn(process.execPath, [...node, entry, ...args], {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      detached: true,
      windowsHide: true,
      env: { ...env, ...(this.#options.env ?? process.env) },
    });
    this.#child = child;
    this.#become('starting');
    if (child.stdout) onLines(child.stdout, (line) => this.#heard(line));
    if (child.stderr) onLines(child.stderr, (line) => this.#logged(line));
    child.on('error', (error) => this.#logged(error.message));
    child.once('close', (code, signal) => this.#ended(code, signal));
  }

  #heard(line: string): void {
    if (saysReady(line)) {
      this.#wasReady = true;
      this.#become('running');
      this.#settleReady();
    } else {
      this.#options.log.write(line);
    }
  }

  #logged(line: string): void {
    this.#lastError = errorIn(line) ?? this.#lastError;
    this.#options.log.write(line);
  }

  #ended(code: number | null, signal: string | null): void {
    this.#child = undefined;
    this.#lastExit = { code, signal, time: this.#time() };
    if (this.#stopping) {
      this.#become('stopped');
      return;
    }
    const life = this.#options.clock.monotonic() - this.#started;
    if (life >= this.#backOff.resetAfterMs) this.#failures = 0;
    this.#neverReady -= 1;
    if (!this.#wasReady && this.#neverReady <= 0 && this.#readyWaiters.length > 0) {
      this.#become('stopped');
      this.#settleReady(this.#failure(code, signal));
      return;
    }
    this.#timer = setTimeout(
      () => {
        this.#restarts += 1;
        this.#launch();
      },
      backOffDelay(this.#failures, this.#backOff),
    );
    this.#failures += 1;
    this.#become('waiting');
  }

  #failure(code: number | null, signal: string | null): MillraceError {
    const how = signal === null ? `exit code ${code}` : `signal ${signal}`;
    const why = this.#lastError === '' ? '' : `: ${this.#lastError}`;
    return new MillraceError('E_UNAVAILABLE', `${this.#spec.name} does not start (${how})${why}`, {
      data: { process: this.#spec.name },
    });
  }

  #settleReady(error?: MillraceError): void {
    for (const waiter of this.#readyWaiters.splice(0)) {
      if (error === undefined) waiter.resolve();
      else waiter.reject(error);
    }
  }

  #become(state: ProcessState): void {
    this.#state = state;
    this.#since = this.#time();
    this.#options.changed();
  }

  #time(): string {
    return new Date(this.#options.clock.now()).toISOString();
  }
}

function saysReady(line: string): boolean {
  if (!line.startsWith('{')) return false;
  try {
    const message: unknown = JSON.parse(line);
    return typeof message === 'object' && message !== null && 'ready' in message && message.ready === true;
  } catch {
    return false;
  }
}

/** The message of a logged error, to show one line to the user if a process cannot start. */
function errorIn(line: string): string | undefined {
  try {
    const entry = JSON.parse(line) as { level?: unknown; msg?: unknown; err?: { message?: unknown; code?: unknown } };
    if (entry.level !== 'error' && entry.level !== 'fatal') return undefined;
    const detail = entry.err?.message ?? entry.msg;
    return typeof detail === 'string' ? detail : undefined;
  } catch {
    return /^\s+at |^Node\.js v/.test(line) ? undefined : line.trim() || undefined;
  }
}
