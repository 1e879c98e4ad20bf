import { type Bytes, type Clock, fromHex } from '@millrace/base';
import { createFactsSealing, type OwnerSealing, type OwnerState, type TransactionOf } from '@millrace/protocol';
import type { Driver } from '../drivers/contract.ts';
import { ownerStateOf } from './machine-state.ts';

/** Recipient of the facts that the cloud may not see, and what may be shown at the machine. */
export type LicenceTerms = Pick<TransactionOf<'licence.grant'>, 'telemetryKey' | 'disclose' | 'creditPolicy'>;

/** Facts of one print that only its owner may see. They can be sealed once a permit names the recipient. */
export class OwnerFacts {
  readonly #driver: Driver;
  readonly #clock: Clock;
  #terms: LicenceTerms | undefined;
  #sealing: OwnerSealing | undefined;
  #odometer: number | undefined;

  constructor({ driver, clock }: { driver: Driver; clock: Clock }) {
    this.#driver = driver;
    this.#clock = clock;
  }

  /** @throws {MillraceError} E_INPUT if data cannot be sealed to the owner */
  async permitted(
    terms: LicenceTerms,
    of: { readonly installation: string; readonly object: string; readonly run: string },
  ): Promise<void> {
    this.#terms = terms;
    this.#sealing ??= await createFactsSealing(terms.telemetryKey, of, fromHex(of.run));
  }

  /** The machine has begun. @param odometer value just before */
  began(odometer: number): void {
    this.#odometer = odometer;
  }

  /** Before the machine begins, its driver may still report on the previous run, of another owner's design. */
  state(): OwnerState {
    const time = this.#clock.now();
    const odometer = this.#odometer;
    return odometer === undefined ? { time, bytes: 0 } : ownerStateOf(this.#driver, { time, odometer });
  }

  /** Sealed facts for a report or the run record. @param reason why it failed, in full */
  seal(reason?: string): { sealed: Bytes } | undefined {
    const sealed = this.#sealing?.seal({ ...this.state(), ...(reason === undefined ? {} : { reason }) });
    return sealed && { sealed };
  }

  /** Executed lines, if the licence credits an object that failed so early. Nobody else learns the position. */
  earlyLines(): { lines: number } | undefined {
    const { line, bytes } = this.state();
    const lines = line ?? (bytes === 0 ? 0 : undefined);
    const below = this.#terms?.creditPolicy?.below ?? 0;
    return lines !== undefined && lines < below ? { lines } : undefined;
  }

  /** Whether the licence discloses positions at the machine. */
  get disclosesPosition(): boolean {
    return this.#terms?.disclose.includes('position') ?? false;
  }

  close(): void {
    this.#sealing?.close();
  }
}
