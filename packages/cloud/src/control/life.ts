import { type Bytes, copyBytes, equalBytes, MillraceError, toBase64, toHex } from '@millrace/base';
import type { EventRequest } from '@millrace/ledger';
import {
  CLOCK_SKEW_MS,
  handedOverFact,
  holderParty,
  isLifeDocument,
  type LifeDocument,
  lifeFact,
  lifeName,
  partyName,
  readTransaction,
  requireChainCounting,
  requireCounting,
  requireNewest,
  requireUnrevoked,
  type TransactionOf,
} from '@millrace/protocol';
import { authorize } from '../node/policy.ts';
import type { ControlContext } from './context.ts';
import { lifeOf, objectResource, type PartLife } from './life-records.ts';
import { requireSizes } from './limits.ts';
import { printOf } from './object-prints.ts';
import { type PrintRecord, signerOf } from './records.ts';
import type { Submitted } from './submitted.ts';

// The life of parts after their completion: owners, inspections, retirement (docs/adr/0058). The record of the print
// has the present state. A change is written there first, with the documents of its event, then to the ledger.

/**
 * Carries out the document of a part's owner or inspector. It must follow the newest one. An offer of a transfer waits
 * in the record for its acceptance; every later document ends it. The same document again gets the same answer.
 * @throws {MillraceError} E_FORBIDDEN, E_NOT_FOUND, E_CONFLICT (another document has followed since), E_STATE (not made,
 * credited, retired, or a case is open), E_REVOKED
 */
export function changeLife(
  context: ControlContext,
  { body, actor, credential, bytes }: Submitted<LifeDocument>,
): Promise<{ object: string }> {
  const { object } = body;
  return withPart(context, object, async (print) => {
    authorize(actor, body.type, objectResource(print));
    const life = lifeOf(print);
    if (life.newest !== undefined && equalBytes(life.newest, lifeName(bytes))) return;
    requireNewest(body, life.newest);
    await requireMade(context, object, body.type);
    const { offer: _ended, ...now } = life;
    const newest = lifeName(bytes);
    const logged = { newest, pending: [bytes, credential] };
    switch (body.type) {
      case 'object.transfer': {
        const to = await requireParty(context, body.to);
        if (to === life.partOwner) throw new MillraceError('E_STATE', 'this party owns the part already');
        return setLife(context, print, { ...now, offer: { to, transaction: bytes, credential } });
      }
      case 'object.appoint': {
        const inspectors = await Promise.all(body.inspectors.map((party) => requireParty(context, party)));
        return setLife(context, print, { ...now, ...logged, inspectors });
      }
      case 'object.inspect':
        return setLife(context, print, { ...now, ...logged });
      case 'object.retire':
        return setLife(context, print, { ...now, ...logged, retired: true });
    }
  });
}

/**
 * Makes the signer's party the owner of the part that it was offered. Offer and acceptance are one event.
 * @throws {MillraceError} E_FORBIDDEN, E_NOT_FOUND, E_INPUT (of another offer), E_STATE, E_EXPIRED, E_REVOKED
 */
export function acceptPart(
  context: ControlContext,
  { body, actor, credential, bytes }: Submitted<TransactionOf<'object.accept'>>,
): Promise<{ object: string }> {
  const { directory, clock } = context;
  const { object } = body;
  return withPart(context, object, async (print) => {
    const life = lifeOf(print);
    const { offer } = life;
    if (life.newest !== undefined && equalBytes(life.newest, lifeName(bytes))) return;
    authorize(actor, 'object.accept', objectResource(print));
    if (offer === undefined) throw new MillraceError('E_STATE', 'nobody offers this part', { data: { object } });
    const offered = copyBytes(offer.transaction);
    if (!equalBytes(body.transfer, lifeName(offered)))
      throw new MillraceError('E_INPUT', 'the acceptance is of another offer', { data: { object } });
    const { expires } = readTransaction(offered);
    if (clock.now() > expires + CLOCK_SKEW_MS)
      throw new MillraceError('E_EXPIRED', 'the offer has expired: its owner has to sign another', {
        data: { object },
      });
    // The keys may have been revoked since the offer.
    requireCounting(directory, signerOf(offered), offered);
    requireChainCounting(offer.credential, directory);
    await requireMade(context, object, body.type);
    await setLife(context, print, {
      partOwner: offer.to,
      inspectors: [],
      newest: lifeName(bytes),
      pending: [offered, copyBytes(offer.credential), bytes, credential],
      retired: false,
    });
  });
}

/** One change of a part's life, or one alarm, at a time, after the earlier one is in the ledger. */
export function withPart(
  context: ControlContext,
  object: string,
  change: (print: PrintRecord) => Promise<void>,
): Promise<{ object: string }> {
  return context.mutexes.run(`object/${object}`, async () => {
    await announceLife(context, await printOf(context, object));
    await change(await printOf(context, object));
    await announceLife(context, await printOf(context, object));
    return { object };
  });
}

/** Writes the newest change of a part's life to the ledger. Safe to repeat. */
export async function announceLife(context: ControlContext, { print, life }: PrintRecord): Promise<void> {
  if (life?.pending === undefined) return;
  await context.ledger.append(eventOf(life.pending));
  await context.records.prints.update(print, ({ life: now, ...record }) => {
    if (now === undefined) return record;
    const { pending: _logged, ...rest } = now;
    return { ...record, life: rest };
  });
}

function eventOf(documents: readonly Uint8Array[]): EventRequest {
  const evidence = documents.map(copyBytes);
  const [first, , acceptance] = evidence as [Bytes, Bytes, Bytes?, Bytes?];
  const body = readTransaction(first);
  if (!isLifeDocument(body)) throw new MillraceError('E_STORE', 'the record holds no document of a part’s life');
  const eventId = `life/${toHex(lifeName(acceptance ?? first))}`;
  if (body.type !== 'object.transfer') return { ...lifeFact(body, signerOf(first)), evidence, eventId };
  return { ...handedOverFact(body, signerOf(first), signerOf(acceptance ?? first)), evidence, eventId };
}

async function setLife({ records }: ControlContext, { print }: PrintRecord, life: PartLife): Promise<void> {
  if (life.pending !== undefined) requireSizes([eventOf(life.pending)], []);
  await records.prints.update(print, (current) => ({ ...current, life }));
}

/**
 * Requires a part that was made, that its owner has not retired, and that is not in dispute.
 * @throws {MillraceError} E_STATE
 */
async function requireMade(
  { ledger, records }: ControlContext,
  object: string,
  type: LifeDocument['type'] | 'object.accept',
): Promise<void> {
  const state = (await ledger.head(object))?.state;
  if (state !== 'completed')
    throw new MillraceError(
      'E_STATE',
      `object ${object} is ${state ?? 'not in the ledger'}: only a made part has a life`,
      {
        data: { object, state },
      },
    );
  const dispute = await records.cases.get(object);
  if (dispute !== undefined && !dispute.decision?.announced && type !== 'object.inspect')
    throw new MillraceError('E_STATE', 'the object has an open case: its design’s owner has to decide it first', {
      data: { object },
    });
}

/** @returns the party's name @throws {MillraceError} E_NOT_FOUND, E_REVOKED, E_INPUT (the key acts for an organisation) */
async function requireParty({ records, directory }: ControlContext, party: Uint8Array | string): Promise<string> {
  const name = partyName(holderParty(party));
  if (typeof party === 'string') {
    if ((await records.organisations.get(name)) === undefined)
      throw new MillraceError('E_NOT_FOUND', `no organisation ${name} is registered`);
    return name;
  }
  const user = await records.users.get(name);
  if (user === undefined) throw new MillraceError('E_NOT_FOUND', `no user ${name} is registered`);
  if (user.member !== undefined)
    throw new MillraceError('E_INPUT', `the key ${name} acts for an organisation: name that`);
  requireUnrevoked(directory, name);
  return name;
}

/** A part's life, as those who may read the object see it. */
export function lifeView(print: PrintRecord) {
  const { partOwner, newest, inspectors, offer, retired } = lifeOf(print);
  return {
    owner: partOwner,
    newest: newest && toBase64(newest),
    inspectors,
    offer: offer && {
      to: offer.to,
      transaction: toBase64(offer.transaction),
      credential: toBase64(offer.credential),
    },
    retired,
  };
}
