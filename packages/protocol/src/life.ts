import { type Bytes, equalBytes, MillraceError } from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import { holderParty, partyName } from './acting.ts';
import type { Transaction, TransactionOf } from './documents.ts';
import type { LedgerFact } from './ledger-facts.ts';

// The life of a part after its completion (docs/adr/0058).

const lifeTypes = ['object.transfer', 'object.appoint', 'object.inspect', 'object.retire'] as const;

/** A document that names the one before it. `object.accept` follows the offer that it names. */
export type LifeDocument = TransactionOf<(typeof lifeTypes)[number]>;

export function isLifeDocument(body: Transaction): body is LifeDocument {
  return lifeTypes.some((type) => type === body.type);
}

/** How long another party may accept a part, ms. */
export const OFFER_MS = 14 * 24 * 3_600_000;

/** The name of a document in the next document of the part's life. */
export function lifeName(document: Uint8Array): Bytes {
  return sha256(document);
}

/**
 * @param newest name of the newest document of the part's life; undefined if there is none
 * @throws {MillraceError} E_CONFLICT if the document follows another one
 */
export function requireNewest({ after, object }: LifeDocument, newest: Uint8Array | undefined): void {
  const follows = after === undefined ? newest === undefined : newest !== undefined && equalBytes(after, newest);
  if (follows) return;
  throw new MillraceError('E_CONFLICT', 'another document has followed since: look at the object and sign again', {
    data: { object },
  });
}

/**
 * Evidence: `object.transfer`, the credential of its signer, `object.accept`, the credential of its signer.
 * @param actor signer of the offer
 * @param acceptedBy key name of the signer of the acceptance
 */
export function handedOverFact({ object, to }: TransactionOf<'object.transfer'>, actor: string, acceptedBy: string) {
  return {
    account: object,
    type: 'transferred',
    actor,
    body: { owner: partyName(holderParty(to)), acceptedBy },
  } as const satisfies LedgerFact;
}

/** Evidence: the document, the credential of its signer. */
export function lifeFact(document: Exclude<LifeDocument, { type: 'object.transfer' }>, actor: string): LedgerFact {
  const account = document.object;
  switch (document.type) {
    case 'object.appoint': {
      const inspectors = document.inspectors.map((name) => partyName(holderParty(name))).join(' ');
      return { account, type: 'inspected', actor, body: { fact: 'inspectors named', inspectors } };
    }
    case 'object.inspect': {
      const { result, method, document: report } = document;
      const shown = { ...(method && { method }), ...(report && { document: report }) };
      return { account, type: 'inspected', actor, body: { fact: 'inspection', result, ...shown } };
    }
    case 'object.retire':
      return { account, type: 'retired', actor, body: { reason: document.reason } };
  }
}
