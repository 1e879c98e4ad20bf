import { type Clock, Condition, type Logger, MillraceError, Mutex, toMillraceError } from '@millrace/base';
import type { Halt, PrintCommand } from '@millrace/protocol';
import { z } from 'zod';
import type { Driver } from '../drivers/contract.ts';
import type { OperatorRequest, OperatorStatus } from './operator-messages.ts';
import { type StateSigner, signedFile } from './signed-file.ts';

/** Who commands from elsewhere. */
export type RemoteCommander = 'operator' | 'owner';

const nextSteps = {
  elsewhere: 'resume or cancel the print, there or at the machine: `millrace print resume` or `cancel`',
  pause: 'resume or cancel the print at the machine: `millrace-agent resume` or `cancel`, or `millrace machine`',
  cancel: 'remove the part, then request the print again',
  stop: 'remove the cause and the part, then let the machine take work again: `resume`',
} as const;

const heldSchema = z.strictObject({
  cause: z.string(),
  since: z.number(),
  /** Paused from elsewhere, and by whom. The pause ends with its print. */
  remote: z.enum(['operator', 'owner']).optional(),
});
type Held = z.output<typeof heldSchema>;

/** The print that is under way. */
export interface RunningPrint {
  /** Ends it. @throws {MillraceError} E_STATE if it has not begun */
  cancel(halt: Halt): void;
}

/**
 * What the operator at the machine commands, and people elsewhere for one print. Nothing here needs the cloud. A machine that is held takes no work and
 * begins no print, also after a restart of the agent, until it is resumed. A paused print is held too: it may not begin
 * again by itself after a crash.
 */
export class Operator {
  readonly #driver: Driver;
  readonly #file: ReturnType<typeof heldFile>;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #change = new Condition();
  /** Serialises writes to the file. */
  readonly #writes = new Mutex();
  #held: Held | undefined;
  #print: RunningPrint | undefined;

  private constructor(
    { driver, clock, logger }: { readonly driver: Driver; readonly clock: Clock; readonly logger: Logger },
    file: ReturnType<typeof heldFile>,
    held: Held | undefined,
  ) {
    this.#driver = driver;
    this.#clock = clock;
    this.#logger = logger;
    this.#file = file;
    this.#held = held;
  }

  /** @param folder the machine's @throws {MillraceError} E_STORE if the state on disk was altered */
  static async open(
    folder: string,
    signer: Pick<StateSigner, 'key'>,
    parts: { readonly driver: Driver; readonly clock: Clock; readonly logger: Logger },
  ): Promise<Operator> {
    const file = heldFile(folder, signer);
    return new Operator(parts, file, await file.read());
  }

  /** The machine stands still by a command or a pause: nothing is late. */
  get isHalted(): boolean {
    return this.#held !== undefined || this.#driver.telemetry().state === 'paused';
  }

  get status(): OperatorStatus {
    const { state, pause } = this.#driver.telemetry();
    return {
      state,
      ...(pause === undefined ? {} : { pause }),
      ...(this.#held === undefined ? {} : { held: this.#held }),
      prints: this.#print !== undefined,
    };
  }

  /** A print is under way. @returns to be called when it has ended */
  begins(print: RunningPrint): () => void {
    this.#print = print;
    return () => {
      this.#print = undefined;
      this.#change.notify();
      void this.#releaseRemote().catch((error: unknown) =>
        this.#logger.error({ err: error }, 'cannot end the pause of a print that has ended'),
      );
    };
  }

  /** Resolves when the machine is not held. @throws the signal's reason */
  async whenFree(signal: AbortSignal): Promise<void> {
    while (this.#held !== undefined) await this.#change.wait(signal);
  }

  /** Lets the machine take no work until it is resumed there. */
  hold(cause: string): Promise<void> {
    const { cause: former, since = this.#clock.now() } = this.#held ?? {};
    return this.#hold({ cause: former === undefined ? cause : `${former}; ${cause}`, since });
  }

  /** The machine's run has begun. If it was held meanwhile, it stands still before its first line. */
  async begun(): Promise<void> {
    if (this.#held !== undefined && this.#driver.telemetry().state === 'running')
      await this.#driver.pause(pauseOf(this.#held));
  }

  /** @throws {MillraceError} E_STATE if there is nothing to do; E_MACHINE, E_STORE */
  async command({ command, cause = 'the operator’s command' }: OperatorRequest): Promise<OperatorStatus> {
    if (command !== 'status') this.#logger.warn({ command, cause }, 'command of the operator at the machine');
    switch (command) {
      case 'pause':
        await this.#pause(cause);
        break;
      case 'resume':
        await this.#resume();
        break;
      case 'cancel':
        await this.#cancel(haltOf('cancel', cause));
        break;
      case 'stop':
        await this.#stop(cause);
    }
    return this.status;
  }

  /**
   * A command for one print from elsewhere, whose signature was verified. It does nothing to another print, and a pause
   * ends with its print. Nobody elsewhere ends a pause that was made at the machine: somebody may have a hand in it. The
   * owner ends only its own pause.
   * @throws {MillraceError} E_STATE, E_FORBIDDEN; E_MACHINE, E_STORE
   */
  async commandFromElsewhere(
    print: RunningPrint,
    { command, cause }: { readonly command: PrintCommand; readonly cause: string },
    by: RemoteCommander,
  ): Promise<void> {
    this.#logger.warn({ command, cause, by }, 'signed command from elsewhere');
    if (this.#print !== print) throw new MillraceError('E_STATE', 'the print has ended');
    switch (command) {
      case 'pause':
        await this.#pause(cause, by);
        // The print may have ended meanwhile. Then nothing is left to be paused.
        if (this.#print !== print) await this.#releaseRemote();
        return;
      case 'resume': {
        if (this.#held === undefined) throw new MillraceError('E_STATE', 'the print is not paused from elsewhere');
        const { remote } = this.#held;
        if (remote === undefined)
          throw new MillraceError('E_STATE', 'the pause was made at the machine, and is ended there');
        if (by === 'owner' && remote === 'operator')
          throw new MillraceError('E_FORBIDDEN', 'the operator has paused the print, and ends the pause');
        return this.#resume();
      }
      case 'cancel':
        return this.#cancel(haltOf('cancel', cause, by));
      case 'stop':
        return this.#stop(cause);
    }
  }

  /** @param by absent for the operator at the machine, who may take over a pause from elsewhere */
  async #pause(cause: string, by?: RemoteCommander): Promise<void> {
    if (this.#held !== undefined && (by !== undefined || this.#held.remote === undefined))
      throw new MillraceError('E_STATE', 'the machine is paused');
    const { state } = this.#driver.telemetry();
    // A pause by the controller becomes the operator's: otherwise the controller could end it.
    const runs = state === 'running' || state === 'paused';
    const held = { cause, since: this.#clock.now(), ...(by === undefined ? {} : { remote: by }) };
    const pausing = runs ? this.#driver.pause(pauseOf(held)) : undefined;
    await Promise.all([pausing, this.#hold(held)]);
  }

  #releaseRemote(): Promise<void> {
    return this.#release(this.#held?.remote === undefined ? undefined : this.#held);
  }

  async #resume(): Promise<void> {
    const held = this.#held;
    const isPaused = this.#driver.telemetry().state === 'paused';
    if (!isPaused && held === undefined) throw new MillraceError('E_STATE', 'the machine is not paused');
    if (isPaused) await this.#driver.resume();
    await this.#release(held);
  }

  /** Ends the print, and the pause of this print. */
  async #cancel(halt: Halt): Promise<void> {
    const print = this.#print;
    if (print === undefined) throw new MillraceError('E_STATE', 'there is no print to cancel');
    const held = this.#driver.telemetry().state === 'paused' ? this.#held : undefined;
    print.cancel(halt);
    await this.#change.until(() => this.#print !== print);
    await this.#release(held);
  }

  /** The bytes that stop the machine leave before anything else is done. */
  async #stop(cause: string): Promise<void> {
    const stopping = this.#driver.emergencyStop().catch((error: unknown) => {
      // A machine that is not connected: there is no way to reach it, but it gets no more work.
      if (toMillraceError(error).code !== 'E_STATE') throw error;
    });
    try {
      this.#print?.cancel(haltOf('stop', cause));
    } catch (error) {
      if (toMillraceError(error).code !== 'E_STATE') throw error;
    }
    await Promise.all([stopping, this.#hold({ cause, since: this.#clock.now() })]);
  }

  async #hold(held: Held): Promise<void> {
    this.#held = held;
    await this.#writes.run(() => this.#file.write(held));
  }

  /** Ends this hold, unless another command holds the machine meanwhile. */
  async #release(held: Held | undefined): Promise<void> {
    const isCurrent = () => held !== undefined && this.#held === held;
    await this.#writes.run(async () => {
      if (isCurrent()) await this.#file.clear();
      if (!isCurrent()) return;
      this.#held = undefined;
      this.#change.notify();
    });
  }
}

function haltOf(command: keyof typeof nextSteps, cause: string, actor: RemoteCommander = 'operator'): Halt {
  return { actor, cause, nextStep: nextSteps[command] };
}

const pauseOf = ({ cause, remote }: Held): Halt => haltOf(remote === undefined ? 'pause' : 'elsewhere', cause, remote);

/** Beside `data`, which belongs to one cloud: the machine is held whatever cloud it works for. */
function heldFile(folder: string, { key }: Pick<StateSigner, 'key'>) {
  return signedFile(
    `${folder}/held.state`,
    { key, installation: '' },
    {
      label: 'held',
      schema: heldSchema,
      remedy: 'look at the machine; to release it, remove this file',
    },
  );
}
