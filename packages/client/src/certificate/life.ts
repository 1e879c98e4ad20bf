import { type Bytes, equalBytes } from '@millrace/base';
import { keyName } from '@millrace/identity';
import type { LoggedEvent } from '@millrace/ledger';
import {
  CLOCK_SKEW_MS,
  handedOverFact,
  holderParty,
  type InspectionResult,
  isLifeDocument,
  lifeFact,
  lifeName,
  type Party,
  type RetirementReason,
  readTransaction,
  requireNewest,
  type TransactionOf,
} from '@millrace/protocol';
import { type Documents, documentsOf, requireFact, type Signatory, type Trusted, unfit } from './documents.ts';

/** A part's life after its completion, each statement verified against its signer. */
export interface ProvenLife {
  /** The part's present owner: at first the holder of the licence under which it was ordered. */
  readonly owner: Party;
  /** SHA-256 of the newest document; undefined if there is none. */
  readonly newest: Bytes | undefined;
  /** Who accepted the part for its present owner; undefined before the first transfer. */
  readonly acceptedBy: Signatory | undefined;
  readonly transfers: readonly ProvenTransfer[];
  readonly inspections: readonly ProvenInspection[];
  readonly retired: { readonly reason: RetirementReason; readonly by: Signatory; readonly signed: number } | undefined;
}

export interface ProvenTransfer {
  readonly from: Party;
  readonly to: Party;
  /** Who offered the part for its owner, and who accepted it. */
  readonly by: Signatory;
  readonly acceptedBy: Signatory;
  /** When the acceptance was signed, by its signer's clock. */
  readonly signed: number;
}

export interface ProvenInspection {
  readonly result: InspectionResult;
  readonly method: string | undefined;
  /** SHA-256 of the inspection report. */
  readonly document: Bytes | undefined;
  readonly by: Signatory;
  /** Whether the part's owner inspected it itself. */
  readonly byOwner: boolean;
  readonly signed: number;
}

/** Whether an event of an object is one of the part's life: its document tells. */
export function isLifeEvent({ event }: LoggedEvent): boolean {
  const [document] = event.evidence ?? [];
  return document !== undefined && isLifeDocument(readTransaction(document));
}

/** Verifies the events of a part's life, one by one. Each document names the one before it. */
export class LifeChain {
  readonly #trusted: Trusted;
  readonly #documents: Documents;
  readonly #transfers: ProvenTransfer[] = [];
  readonly #inspections: ProvenInspection[] = [];
  #owner: Party;
  #inspectors: readonly Party[] = [];
  #newest: Bytes | undefined;
  #retired: ProvenLife['retired'];

  /** @param owner the part's first owner */
  constructor(owner: Party, trusted: Trusted, documents: Documents) {
    this.#owner = owner;
    this.#trusted = trusted;
    this.#documents = documents;
  }

  result(): ProvenLife {
    const [transfers, inspections] = [this.#transfers, this.#inspections];
    const acceptedBy = transfers.at(-1)?.acceptedBy;
    return { owner: this.#owner, newest: this.#newest, acceptedBy, transfers, inspections, retired: this.#retired };
  }

  async take(logged: LoggedEvent): Promise<void> {
    const [document] = logged.event.evidence ?? [];
    const body = document && readTransaction(document);
    if (document === undefined || body === undefined || !isLifeDocument(body)) throw unfit('no document of its life');
    requireNewest(body, this.#newest);
    switch (body.type) {
      case 'object.transfer':
        return this.#transfer(logged);
      case 'object.inspect':
        await this.#inspect(logged);
        break;
      case 'object.appoint': {
        const named = await this.#byOwner(logged, 'object.appoint');
        this.#inspectors = named.body.inspectors.map(holderParty);
        break;
      }
      case 'object.retire': {
        const { body: last, signatory } = await this.#byOwner(logged, 'object.retire');
        this.#retired = { reason: last.reason, by: signatory, signed: last.issued };
        break;
      }
    }
    this.#newest = lifeName(document);
  }

  async #transfer(logged: LoggedEvent): Promise<void> {
    const names = ['object.transfer', 'its signer’s credential', 'object.accept', 'its signer’s credential'];
    const [offer, offerer, acceptance, acceptor] = documentsOf(logged, names) as [Bytes, Bytes, Bytes, Bytes];
    const from = this.#owner;
    const { body, signatory: by } = await this.#documents.actedFor(
      { party: from, role: 'operator', type: 'object.transfer' },
      { transaction: offer, credential: offerer },
      this.#trusted,
    );
    const to = holderParty(body.to);
    const { body: accepted, signatory: acceptedBy } = await this.#documents.actedFor(
      { party: to, role: 'operator', type: 'object.accept' },
      { transaction: acceptance, credential: acceptor },
      this.#trusted,
    );
    if (accepted.object !== body.object || !equalBytes(accepted.transfer, lifeName(offer)))
      throw unfit('the acceptance is of another offer');
    if (accepted.issued > body.expires + 2 * CLOCK_SKEW_MS) throw unfit('the offer had expired when it was accepted');
    requireFact(logged, handedOverFact(body, keyName(by.publicKey), keyName(acceptedBy.publicKey)));
    this.#transfers.push({ from, to, by, acceptedBy, signed: accepted.issued });
    this.#owner = to;
    this.#inspectors = [];
    this.#newest = lifeName(acceptance);
  }

  /** By the part's owner, or by an inspector whom it has named. The credential tells which, the signature proves it. */
  async #inspect(logged: LoggedEvent): Promise<void> {
    const { transaction, credential } = attestedOf(logged, 'object.inspect');
    const type = 'object.inspect' as const;
    const candidates = [
      { party: this.#owner, role: 'operator', type } as const,
      ...this.#inspectors.map((party) => ({ party, role: 'certifier', type }) as const),
    ];
    const { publicKey, member } = await this.#documents.signer(credential, this.#trusted);
    const wanted = candidates.find(({ party }) =>
      'key' in party ? equalBytes(party.key, publicKey) : party.organisation === member?.organisation,
    );
    if (wanted === undefined) throw unfit('its signer is neither the part’s owner nor an inspector whom it has named');
    const { body, signatory } = await this.#documents.actedFor(wanted, { transaction, credential }, this.#trusted);
    requireFact(logged, lifeFact(body, keyName(signatory.publicKey)));
    const { result, method, document, issued } = body;
    const byOwner = wanted.role === 'operator';
    this.#inspections.push({ result, method, document, by: signatory, byOwner, signed: issued });
  }

  async #byOwner<T extends 'object.appoint' | 'object.retire'>(logged: LoggedEvent, type: T) {
    const wanted = { party: this.#owner, role: 'operator', type } as const;
    const signed = await this.#documents.actedFor(wanted, attestedOf(logged, type), this.#trusted);
    requireFact(logged, lifeFact(signed.body as TransactionOf<typeof type>, keyName(signed.signatory.publicKey)));
    return signed;
  }
}

function attestedOf(logged: LoggedEvent, type: string) {
  const [transaction, credential] = documentsOf(logged, [type, 'signer’s credential']) as [Bytes, Bytes];
  return { transaction, credential };
}
