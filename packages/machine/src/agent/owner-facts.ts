import { type Bytes, type Clock, fromHex } from '@millrace/base';
import { createFactsSealing, type OwnerSealing, type OwnerState, type TransactionOf } from '@millrace/protocol';
import type { Driver } from '../drivers/contract.ts';
import { ownerStateOf } from './machine-state.ts';

/** To whom the machine seals what the cloud may not know, and what it may show where it stands. */
export type LicenceTerms = Pick<TransactionOf<'licence.grant'>, 'telemetryKey' | 'disclose'>;

/** What one print tells its owner, and nobody else: sealed for reports as soon as a permit says for whom. */
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

  /** @throws {MillraceError} E_INPUT when nothing can be sealed to the owner */
  async permitted(
    terms: LicenceTerms,
    of: { readonly installation: string; readonly object: string; readonly run: string },
  ): Promise<void> {
    this.#terms = terms;
    this.#sealing ??= await createFactsSealing(terms.telemetryKey, of, fromHex(of.run));
  }

  /** The machine has begun. @param odometer what it was just before */
  began(odometer: number): void {
    this.#odometer = odometer;
  }

  /** Before the machine has begun, its driver may still tell of the run before, of another owner's design. */
  state(): OwnerState {
    const time = this.#clock.now();
    const odometer = this.#odometer;
    return odometer === undefined ? { time, bytes: 0 } : ownerStateOf(this.#driver, { time, odometer });
  }

  /** The part of a report, or of the run record. @param reason why it failed, in full */
  seal(reason?: string): { sealed: Bytes } | undefined {
    const sealed = this.#sealing?.seal({ ...this.state(), ...(reason === undefined ? {} : { reason }) });
    return sealed && { sealed };
  }

  /** Whether who stands at the machine may learn where it was. */
  get disclosesPosition(): boolean {
    return this.#terms?.disclose.includes('position') ?? false;
  }

  close(): void {
    this.#sealing?.close();
  }
}
