import { type Clock, MillraceError } from '@millrace/base';

/** Failures that an address may cause at once; one more is allowed every `REFILL_MS`. */
const BURST = 20;
const REFILL_MS = 3_000;
/** Maximum number of remembered addresses. The one with the oldest failure is forgotten first. */
const MAX_ADDRESSES = 10_000;

/** Limits the failed attempts of each address or user. */
export class FailureLimit {
  readonly #clock: Clock;
  readonly #reason: string;
  /** Failures that still count, as of a time (ms, monotonic), in the order of the newest failure. */
  readonly #failures = new Map<string, { readonly count: number; readonly at: number }>();

  /** @param reason message of E_RATE */
  constructor(clock: Clock, reason: string) {
    this.#clock = clock;
    this.#reason = reason;
  }

  /** @throws {MillraceError} E_RATE if the address or user has failed too often */
  require(address: string): void {
    if (this.#counted(address) < BURST) return;
    throw new MillraceError('E_RATE', this.#reason);
  }

  failed(address: string): void {
    const count = this.#counted(address) + 1;
    this.#failures.delete(address);
    this.#failures.set(address, { count, at: this.#clock.monotonic() });
    const [oldest] = this.#failures.keys();
    if (this.#failures.size > MAX_ADDRESSES && oldest !== undefined) this.#failures.delete(oldest);
  }

  #counted(address: string): number {
    const known = this.#failures.get(address);
    if (known === undefined) return 0;
    return Math.max(0, known.count - (this.#clock.monotonic() - known.at) / REFILL_MS);
  }
}
