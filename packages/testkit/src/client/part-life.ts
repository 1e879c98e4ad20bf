import { type Bytes, systemRandom, toHex } from '@millrace/base';
import { keyName, type MemorySigner } from '@millrace/identity';
import type { EventRequest } from '@millrace/ledger';
import {
  handedOverFact,
  type LedgerFact,
  type LifeDocument,
  lifeFact,
  lifeName,
  signTransaction,
  type TransactionOf,
} from '@millrace/protocol';
import { registerKey } from '../protocol/support.ts';
import { INSTALLATION } from './certified.ts';

type Body<T = LifeDocument> = T extends LifeDocument
  ? Omit<T, 'id' | 'issued' | 'expires' | 'object' | 'after'>
  : never;

/** What a forger changes. */
export interface LifeChanges {
  readonly object?: string;
  readonly after?: Bytes | undefined;
  readonly accept?: Partial<TransactionOf<'object.accept'>>;
}

/** Events of a part's life, as control writes them. Every document follows the one signed before. */
export function createPartLife(admin: MemorySigner, object: string) {
  let newest: Bytes | undefined;
  const common = () => ({ id: systemRandom(16), issued: 1_000, expires: 2_000, object });
  const sign = (signer: MemorySigner, body: Parameters<typeof signTransaction>[2]) =>
    signTransaction(signer, INSTALLATION, body);
  const credential = (signer: MemorySigner) => registerKey(admin, INSTALLATION, signer.publicKey);
  const event = (fact: LedgerFact, evidence: Bytes[]): EventRequest => ({
    ...{ ...fact, account: object },
    evidence,
    eventId: toHex(systemRandom(8)),
  });
  const follow = (bytes: Bytes) => {
    newest = lifeName(bytes);
  };
  return {
    newest: () => newest,
    event: async (
      signer: MemorySigner,
      body: Exclude<Body, { type: 'object.transfer' }>,
      changes: LifeChanges = {},
    ): Promise<EventRequest> => {
      const document = { ...common(), after: newest, ...body, ...changes } as LifeDocument;
      const bytes = await sign(signer, document);
      follow(bytes);
      const fact = lifeFact(document as Exclude<LifeDocument, { type: 'object.transfer' }>, keyName(signer.publicKey));
      return event(fact, [bytes, await credential(signer)]);
    },
    handOver: async (
      from: MemorySigner,
      to: MemorySigner,
      { accept = {}, ...changes }: LifeChanges = {},
      taker = to,
    ): Promise<EventRequest> => {
      const party = { type: 'object.transfer' as const, to: to.publicKey };
      const offer = { ...common(), after: newest, ...party, ...changes };
      const offered = await sign(from, offer);
      const acceptance = { ...common(), type: 'object.accept' as const, transfer: lifeName(offered), ...accept };
      const accepted = await sign(taker, acceptance);
      follow(accepted);
      const fact = handedOverFact(offer, keyName(from.publicKey), keyName(taker.publicKey));
      return event(fact, [offered, await credential(from), accepted, await credential(taker)]);
    },
  };
}
