import type { LicenceView } from '@millrace/api';
import { encodeCbor, equalBytes, MillraceError, toHex, wipe } from '@millrace/base';
import {
  type AmendedLicence,
  documentName,
  type LicensedGroup,
  ownerParty,
  readTransaction,
  type TransactionOf,
  verifyAmendments,
  verifyLicence,
} from '@millrace/protocol';
import { readCore } from '@millrace/vault';
import { type LicensedWhere, licensedMachines, type WhereTerms } from './licensed-machines.ts';
import { ownDesign, secretsForMachines } from './own-design.ts';
import { licenceHolder } from './people.ts';
import type { Session } from './session.ts';
import { signNew } from './transactions.ts';

/** A licence as its parties signed it, verified. */
export interface SignedLicence extends AmendedLicence {
  readonly grant: Uint8Array;
}

/**
 * Gets a licence's documents from control and verifies them: the design's core names owner and approvers, and the
 * administrator's signature names the keys that act for them.
 * @throws {MillraceError} E_NOT_FOUND, E_FORBIDDEN, E_SIGNATURE, E_AUTH, E_LICENCE_INVALID
 */
export async function signedLicence({ api, directory }: Session, licence: string): Promise<SignedLicence> {
  const shown = await api.licenceDocuments(licence);
  const core = readCore(shown.core);
  const owner = ownerParty(core);
  const { body } = await verifyLicence(shown.grant, owner, directory);
  if (toHex(body.id) !== licence || core.designId !== body.design || !equalBytes(core.coreHash, body.core))
    throw new MillraceError('E_LICENCE_INVALID', 'control shows another licence, or another design', {
      data: { licence },
    });
  const { approvals } = core;
  const grant = shown.grant.transaction;
  return { ...(await verifyAmendments(grant, shown.amendments, { owner, approvals, directory })), grant };
}

/** What an approval would sign. */
export type ApprovableBody = TransactionOf<'licence.grant' | 'licence.extend' | 'licence.transfer'>;
export interface Approvable {
  readonly document: Uint8Array;
  readonly body: ApprovableBody;
}

/**
 * The documents of a licence that wait for this user's approval. A user approves exactly the bytes that were verified
 * here.
 * @throws {MillraceError} as `signedLicence`
 */
export async function approvable(session: Session, licence: string): Promise<readonly Approvable[]> {
  const { grant, needed, approvedBy, pending } = await signedLicence(session, licence);
  const documents = [...(approvedBy.length < needed ? [grant] : []), ...pending];
  return documents.map((document) => ({ document, body: readTransaction(document) as ApprovableBody }));
}

/** @throws {MillraceError} E_FORBIDDEN (no approver), E_STATE (approved already) */
export async function approveLicence(session: Session, licence: string, { document }: Approvable): Promise<void> {
  const body = { type: 'licence.approve' as const, licence, document: documentName(document) };
  await session.api.submit((await signNew(session, body)).bytes);
}

/**
 * Adds machines and groups to a licence, or the members that have joined its groups since; the number of objects stays
 * the same.
 * @returns the added machines and groups
 * @throws {MillraceError} E_STATE if the licence names all of them already, and as for a grant
 */
export async function extendLicence(session: Session, licence: string, where: WhereTerms): Promise<LicensedWhere> {
  const { terms } = await signedLicence(session, licence);
  const design = await ownDesign(session, terms.design);
  const secrets = await secretsForMachines(session, design, { isPackaged: terms.package !== undefined });
  try {
    const named = new Map(terms.machines.map((entry) => [entry.machine, entry]));
    const all = await licensedMachines(session, where, { licence, design: terms.design, ...secrets });
    const machines = all.machines.filter(({ machine, groups }) => {
      const known = named.get(machine);
      if (known === undefined) return true;
      if (known.groups === undefined) return false;
      return groups === undefined || groups.some((group) => !known.groups?.includes(group));
    });
    const same = (group: LicensedGroup) =>
      terms.groups?.some((known) => known.group === group.group && equalBytes(encodeCbor(known), encodeCbor(group)));
    const groups = all.groups?.filter((group) => !same(group)) ?? [];
    const added = { machines, ...(groups.length > 0 && { groups }) };
    if (machines.length === 0 && groups.length === 0)
      throw new MillraceError('E_STATE', 'the licence names these machines already');
    await session.api.submit((await signNew(session, { type: 'licence.extend', licence, ...added })).bytes);
    return added;
  } finally {
    wipe(secrets.secret, secrets.envelopeKey);
  }
}

/**
 * Transfers what is left of a licence to another holder.
 * @param to an organisation by name or identifier, a contact by name, or a key by its name
 * @throws {MillraceError} E_LICENCE_INVALID (the terms do not allow it), E_STATE, E_FORBIDDEN (not the holder)
 */
export async function transferLicence(session: Session, { licence }: LicenceView, to: string): Promise<void> {
  const { transfers } = await signedLicence(session, licence);
  const body = {
    type: 'licence.transfer' as const,
    licence,
    number: transfers.length + 1,
    to: await licenceHolder(session, to),
  };
  await session.api.submit((await signNew(session, body)).bytes);
}
