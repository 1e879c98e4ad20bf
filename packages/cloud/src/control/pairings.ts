import type { PairingView } from '@millrace/api';
import { type Bytes, type Clock, equalBytes, MillraceError, toBase64 } from '@millrace/base';
import { FailureLimit } from '../node/failure-limit.ts';

/** An agent repeats its offer every few seconds. An offer that was not repeated for this long is forgotten, ms. */
const FORGET_MS = 60_000;
const MAX_PAIRINGS = 1_000;
/** One agent drives up to twenty machines, each with a code of its own. */
const MAX_OF_ADDRESS = 25;

interface OpenPairing {
  readonly offer: Bytes;
  readonly address: string;
  answer?: Bytes;
  certificate?: string;
  repeated: number;
}

/**
 * Pairings in progress, in memory: after a restart, the agents repeat their offers, with the answers that they have
 * accepted. Agent, operator and administrator verify each message; control only carries them.
 */
export class PairingBoard {
  readonly #open = new Map<string, OpenPairing>();
  readonly #clock: Clock;
  readonly #wrongCodes: FailureLimit;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#wrongCodes = new FailureLimit(clock, 'too many wrong pairing codes came from this user');
  }

  /**
   * @param address of the agent
   * @throws {MillraceError} E_CONFLICT if another offer or answer has this id, E_QUOTA for too many offers
   */
  offer(
    id: string,
    given: { readonly offer: Bytes; readonly answer?: Bytes | undefined },
    address: string,
  ): { readonly answer?: Bytes | undefined; readonly certificate?: string | undefined } {
    this.#forget();
    const known = this.#open.get(id) ?? this.#add(id, given.offer, address);
    if (!equalBytes(known.offer, given.offer))
      throw new MillraceError('E_CONFLICT', 'another agent offers its keys for this pairing code');
    if (given.answer !== undefined) {
      if (known.answer !== undefined && !equalBytes(known.answer, given.answer))
        throw new MillraceError('E_CONFLICT', 'the pairing has another answer');
      known.answer = given.answer;
    }
    known.repeated = this.#clock.monotonic();
    return { answer: known.answer, certificate: known.certificate };
  }

  /** @param caller key name of the user @throws {MillraceError} E_NOT_FOUND, E_RATE after many wrong codes */
  get(id: string, caller: string): { readonly offer: Bytes; readonly certified: boolean } {
    this.#wrongCodes.require(caller);
    this.#forget();
    const known = this.#open.get(id);
    if (known === undefined) {
      this.#wrongCodes.failed(caller);
      throw new MillraceError('E_NOT_FOUND', 'no agent that reaches this cloud shows this pairing code at present');
    }
    return { offer: known.offer, certified: known.certificate !== undefined };
  }

  /** A code works once. @throws {MillraceError} E_NOT_FOUND, E_RATE, E_CONFLICT */
  answer(id: string, answer: Bytes, caller: string): void {
    this.get(id, caller);
    const known = this.#require(id);
    if (known.answer !== undefined && !equalBytes(known.answer, answer))
      throw new MillraceError('E_CONFLICT', 'the pairing code was used already');
    known.answer = answer;
  }

  /** Pairings that were answered and have no certificate yet. */
  list(): PairingView[] {
    this.#forget();
    return [...this.#open].flatMap(([pairing, { answer, certificate }]) =>
      answer === undefined || certificate !== undefined ? [] : [{ pairing, answer: toBase64(answer) }],
    );
  }

  /** @throws {MillraceError} E_NOT_FOUND */
  admit(id: string, certificate: string): void {
    this.#forget();
    this.#require(id).certificate = certificate;
  }

  #require(id: string): OpenPairing {
    const known = this.#open.get(id);
    if (known === undefined) throw new MillraceError('E_NOT_FOUND', 'the agent does not reach this cloud at present');
    return known;
  }

  #add(id: string, offer: Bytes, address: string): OpenPairing {
    const ofAddress = [...this.#open.values()].filter((other) => other.address === address).length;
    if (ofAddress >= MAX_OF_ADDRESS || this.#open.size >= MAX_PAIRINGS)
      throw new MillraceError('E_QUOTA', 'too many agents offer their keys for pairing: try again in a minute');
    const added: OpenPairing = { offer, address, repeated: this.#clock.monotonic() };
    this.#open.set(id, added);
    return added;
  }

  #forget(): void {
    const since = this.#clock.monotonic() - FORGET_MS;
    for (const [id, { repeated }] of this.#open) if (repeated < since) this.#open.delete(id);
  }
}
