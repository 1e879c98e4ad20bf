import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, readFileSync, type WriteStream } from 'node:fs';
import type { ProcessSpec } from '@millrace/cli/parts';

/** Child processes of this test process. They are killed when it exits. */
const children = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});

const START_MS = 60_000;

/** Environment of a process. */
export interface ProcessEnvironment {
  /** Command prefix that runs the process, such as `ip netns exec NAME`. */
  readonly within?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** Runs the modules in `dist` instead of the bundled program, so that a preloaded module can change them. */
  readonly modules?: boolean;
}

/** A real process of an installation. The test starts, kills and restarts it. */
export class Managed {
  readonly name: string;
  readonly logFile: string;
  readonly #command: readonly [string, ...string[]];
  readonly #env: NodeJS.ProcessEnv;
  #child: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();
  /** The test itself stops the process, so its exit is expected. */
  #expected = false;
  /** The process has reported that it is ready. */
  #ready = false;

  readonly #started: () => Promise<void>;

  /**
   * @param environment command prefix of the process, and variables in addition to this process's environment
   * @param started what a start waits for after the process has reported that it is ready
   */
  constructor(
    spec: ProcessSpec,
    logFile: string,
    environment: ProcessEnvironment = {},
    started: () => Promise<void> = async () => undefined,
  ) {
    this.#started = started;
    const { name, entry, args, node = [] } = spec;
    this.name = name;
    this.logFile = logFile;
    const { within = [], env = {} } = environment;
    const [first, ...rest] = [...within, process.execPath, ...node, entry, ...args];
    this.#command = [first as string, ...rest];
    // Tests read processes through /proc. The agent and the keys node forbid this to all but root by default.
    const lookers = process.getuid?.() === 0 ? {} : { MILLRACE_DUMPABLE: '1' };
    this.#env = { ...lookers, ...spec.env, ...process.env, ...env };
  }

  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error(`${this.name} is not running`);
    return pid;
  }

  get running(): boolean {
    return this.#child !== undefined;
  }

  /** Resolves when the process reports that it is ready. Its standard error is written to `logFile`. */
  start(): Promise<void> {
    if (this.#child !== undefined) throw new Error(`${this.name} is already running`);
    const log = createWriteStream(this.logFile, { flags: 'a' });
    // The channel closes when this process exits, and the child then exits too, as under the supervisor.
    const [command, ...args] = this.#command;
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'], env: this.#env });
    this.#child = child;
    this.#expected = false;
    this.#ready = false;
    children.add(child);
    child.stderr?.pipe(log);
    this.#exited = new Promise((resolve) => {
      child.once('close', (code, signal) => {
        children.delete(child);
        if (!this.#expected && this.#ready) this.#tellOfEnd(code ?? signal);
        if (this.#child === child) this.#child = undefined;
        log.end();
        resolve();
      });
    });
    return this.#untilReady(child, log).then(this.#started);
  }

  /** Sends SIGKILL; resolves when the process has exited. */
  async kill(): Promise<void> {
    this.#expected = true;
    this.#child?.kill('SIGKILL');
    await this.#exited;
  }

  /** Sends SIGTERM, as an operator does. @returns the exit code */
  async stop(): Promise<number | null> {
    const child = this.#child;
    if (child === undefined) return null;
    this.#expected = true;
    child.kill('SIGTERM');
    const killTimer = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await this.#exited;
    clearTimeout(killTimer);
    return child.exitCode;
  }

  async restart(): Promise<void> {
    await this.kill();
    await this.start();
  }

  /** SIGSTOP or SIGCONT. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    process.kill(this.pid, signal);
  }

  /** Prints the last output of a process that exits unexpectedly, because the test then fails. */
  #tellOfEnd(how: number | string | null): void {
    const last = readFileSync(this.logFile, 'utf8').trimEnd().split('\n').slice(-5).join('\n  ');
    process.stdout.write(`${this.name} exited unexpectedly (${how}):\n  ${last}\n`);
  }

  #untilReady(child: ChildProcess, log: WriteStream): Promise<void> {
    return new Promise((resolve, reject) => {
      let text = '';
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        reject(new Error(`${this.name} did not start; see ${this.logFile}`));
      }, START_MS);
      child.stdout?.on('data', (chunk: Buffer) => {
        log.write(chunk);
        text += chunk.toString();
        if (!text.includes('"ready":true')) return;
        clearTimeout(timer);
        this.#ready = true;
        resolve();
      });
      child.once('error', reject);
      child.once('exit', (code, signal) => {
        clearTimeout(timer);
        reject(new Error(`${this.name} ended (${code ?? signal}) before it was ready`));
      });
    });
  }
}
