import { Backoff, MillraceError, sleep, toHex, toMillraceError } from '@millrace/base';
import { keyName } from '@millrace/identity';
import {
  type Attested,
  actsAs,
  holderParty,
  type Party,
  type PrintCommand,
  readTransaction,
  type TransactionOf,
  verifyBy,
  verifyCredential,
} from '@millrace/protocol';
import type { CommandCalls } from './control-calls.ts';
import type { RemoteCommander } from './operator.ts';
import type { AgentParts } from './parts.ts';

/** Commands that are obeyed at the same time, and that are remembered for one print. */
const MOST_AT_ONCE = 4;
const MOST_REMEMBERED = 1_000;

/** Whose people may command a print. */
export interface Commanders {
  readonly print: string;
  /** As in the licence in force. */
  readonly holder: Uint8Array | string;
  readonly owner: Party;
}

type Parts = Pick<AgentParts, 'clock' | 'config' | 'logger' | 'timing'>;
type Obey = (command: PrintCommand, cause: string, by: RemoteCommander) => Promise<unknown>;

/** A command whose signature and signer were verified. */
export interface VerifiedCommand {
  readonly id: string;
  readonly command: PrintCommand;
  readonly cause: string;
  readonly by: RemoteCommander;
}

/**
 * Verifies a command for a print: an operator of the holder or a designer of the owner has signed it, for this print. A
 * cloud that lies in all its nodes can withhold a command, but can make none.
 * @throws {MillraceError} E_INPUT, E_AUTH, E_SIGNATURE, E_EXPIRED, E_CLOCK, E_REVOKED, E_FORBIDDEN
 */
export async function verifyCommand(
  { transaction, credential }: Attested,
  { print, holder, owner }: Commanders,
  directory: Parts['config']['directory'],
  now: number,
): Promise<VerifiedCommand> {
  const signatory = await verifyCredential(credential, directory);
  const { body } = await verifyBy(signatory, transaction, directory, now);
  if (body.type !== 'print.command' || body.print !== print)
    throw new MillraceError('E_FORBIDDEN', 'the command is for another print');
  const by = actsAs(signatory, holderParty(holder), 'operator')
    ? 'operator'
    : actsAs(signatory, owner, 'designer')
      ? 'owner'
      : undefined;
  if (by === undefined || (by === 'owner' && body.command === 'stop'))
    throw new MillraceError('E_FORBIDDEN', 'the signer may not command this print');
  const { id, command } = body;
  return { id: toHex(id), command, cause: causeOf(body, keyName(signatory.publicKey)), by };
}

function causeOf({ command, cause }: TransactionOf<'print.command'>, key: string): string {
  return `${cause ?? `the command ${command}`} (signed by key ${key})`;
}

/**
 * Takes signed commands from elsewhere as long as a print is under way, each once. Their execution is not awaited before
 * the next one is taken: an emergency stop does not wait for a pause.
 */
export class RemoteCommands {
  readonly #parts: Parts;
  readonly #calls: CommandCalls;
  readonly #of: Commanders;
  readonly #obey: Obey;
  readonly #ended = new AbortController();
  readonly #known = new Set<string>();
  #underWay = 0;

  constructor(parts: Parts, calls: CommandCalls, of: Commanders, obey: Obey) {
    this.#parts = parts;
    this.#calls = calls;
    this.#of = of;
    this.#obey = obey;
    void this.#listen();
  }

  /** The print has ended. A command that is being obeyed is still answered. */
  close(): void {
    this.#ended.abort(new MillraceError('E_STATE', 'the print has ended'));
  }

  async #listen(): Promise<void> {
    const { logger, timing } = this.#parts;
    const backoff = new Backoff(timing.backoff);
    const { signal } = this.#ended;
    while (!signal.aborted) {
      try {
        const command = await this.#calls.command(this.#of.print, signal);
        backoff.reset();
        if (command === undefined) continue;
        if (this.#underWay < MOST_AT_ONCE) void this.#take(command);
        else logger.warn('dropped a command: others are being obeyed');
      } catch (error) {
        if (signal.aborted) return;
        logger.debug({ err: toMillraceError(error) }, 'cannot ask for commands; trying again');
        await sleep(backoff.next(), signal).catch(() => undefined);
      }
    }
  }

  async #take(signed: Attested): Promise<void> {
    const { clock, config, logger, timing } = this.#parts;
    this.#underWay++;
    let refusal: MillraceError | undefined;
    try {
      const { id, command, cause, by } = await verifyCommand(signed, this.#of, config.directory, clock.now());
      if (this.#known.has(id)) throw new MillraceError('E_REPLAY', 'this command was already taken');
      if (this.#known.size >= MOST_REMEMBERED) throw new MillraceError('E_QUOTA', 'too many commands for one print');
      this.#known.add(id);
      await this.#obey(command, cause, by);
    } catch (error) {
      refusal = toMillraceError(error);
      logger.warn({ err: refusal }, 'refused a command from elsewhere');
    }
    try {
      const id = toHex(readTransaction(signed.transaction).id);
      await this.#calls.commanded(id, refusal, AbortSignal.timeout(timing.callMs));
    } catch (error) {
      logger.warn({ err: toMillraceError(error) }, 'cannot say what became of a command');
    } finally {
      this.#underWay--;
    }
  }
}
