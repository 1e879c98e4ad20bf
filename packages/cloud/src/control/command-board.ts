import { isErrorCode, MillraceError } from '@millrace/base';
import type { Attested } from '@millrace/protocol';

/** Commands that may wait for one print, and times within which its machine takes a command and obeys it, ms. */
const MOST_WAITING = 8;
const TAKE_MS = 8_000;
const OBEY_MS = 20_000;

/** Errors of a machine that people are told as they are. */
const ofMachines: ReadonlySet<string> = new Set([
  'E_STATE',
  'E_FORBIDDEN',
  'E_SIGNATURE',
  'E_EXPIRED',
  'E_CLOCK',
  'E_REPLAY',
  'E_REVOKED',
]);

interface Command<Asked> {
  readonly id: string;
  readonly signed: Asked;
  take(): void;
}

export interface Refusal {
  readonly code: string;
  readonly message: string;
}

interface Taken<Answer> {
  readonly machine: string;
  settle(refusal: Refusal | undefined, value: Answer | undefined): void;
}

/** A call of a machine that waits. */
interface Asking {
  wake: () => void;
}

/**
 * Commands on their way to machines that make an object, in memory only: after a restart of control nothing is
 * commanded that a person does not command again. Other questions to machines that wait for them take the same way.
 */
export class CommandBoard<Asked = Attested, Answer = undefined> {
  /** By print. */
  readonly #waiting = new Map<string, Command<Asked>[]>();
  /** The newest call for each print, and how to wake it. */
  readonly #asking = new Map<string, Asking>();
  /** By command. */
  readonly #taken = new Map<string, Taken<Answer>>();

  /**
   * Gives a command to the machine of a print, and waits until it has obeyed.
   * @throws {MillraceError} what the machine answered; E_UNAVAILABLE if it takes no command, E_TIMEOUT if it has taken
   *   the command and does not answer, E_QUOTA
   */
  async submit(print: string, machine: string, id: string, signed: Asked): Promise<Answer | undefined> {
    const waiting = this.#waiting.get(print) ?? [];
    if (waiting.length >= MOST_WAITING)
      throw new MillraceError('E_QUOTA', `${MOST_WAITING} commands wait for this print`, { data: { print } });
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      return await new Promise<Answer | undefined>((resolve, reject) => {
        const settle: Taken<Answer>['settle'] = (refusal, value) =>
          refusal === undefined ? resolve(value) : reject(errorOf(refusal));
        const unavailable = () => reject(new MillraceError('E_UNAVAILABLE', 'the machine cannot be reached'));
        const timeout = () =>
          reject(new MillraceError('E_TIMEOUT', 'the machine has the command, and does not answer'));
        timer = setTimeout(unavailable, TAKE_MS);
        const take = () => {
          clearTimeout(timer);
          timer = setTimeout(timeout, OBEY_MS);
          this.#taken.set(id, { machine, settle });
        };
        waiting.push({ id, signed, take });
        this.#waiting.set(print, waiting);
        this.#asking.get(print)?.wake();
      });
    } finally {
      clearTimeout(timer);
      this.#taken.delete(id);
      this.#remove(print, id);
    }
  }

  /**
   * The next command for a print.
   * @param waitMs how long to wait for one; undefined if none came, or if the machine makes the call again meanwhile, as
   *   it does when it has connected to another distribution node
   */
  async next(print: string, waitMs: number, gone: AbortSignal): Promise<Asked | undefined> {
    const deadline = AbortSignal.any([gone, AbortSignal.timeout(waitMs)]);
    const call: Asking = { wake: () => undefined };
    this.#asking.get(print)?.wake();
    this.#asking.set(print, call);
    try {
      for (;;) {
        if (gone.aborted || this.#asking.get(print) !== call) return undefined;
        const command = this.#waiting.get(print)?.[0];
        if (command !== undefined) {
          this.#remove(print, command.id);
          command.take();
          return command.signed;
        }
        if (deadline.aborted) return undefined;
        await woken(call, deadline);
      }
    } finally {
      if (this.#asking.get(print) === call) this.#asking.delete(print);
    }
  }

  /** The machine has obeyed a command, or refused it. An answer that nobody waits for any more is dropped. */
  answered(machine: string, command: string, refusal: Refusal | undefined, value?: Answer): void {
    const taken = this.#taken.get(command);
    if (taken?.machine === machine) taken.settle(refusal, value);
  }

  #remove(print: string, id: string): void {
    const left = this.#waiting.get(print)?.filter((command) => command.id !== id) ?? [];
    if (left.length === 0) this.#waiting.delete(print);
    else this.#waiting.set(print, left);
  }
}

/** Resolves when the call is woken: a command was submitted, or the call was made again. Or at the end of the signal. */
function woken(call: Asking, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      signal.removeEventListener('abort', done);
      resolve();
    };
    call.wake = done;
    signal.addEventListener('abort', done, { once: true });
  });
}

/** @param refusal of a machine, whose code may be anything */
function errorOf({ code, message }: Refusal): MillraceError {
  const known = isErrorCode(code) && ofMachines.has(code);
  return new MillraceError(known ? code : 'E_MACHINE', `the machine: ${message}`);
}
