import type { InvitationView, KeyView, SignedDocumentView } from '@millrace/api';
import { toBase64 } from '@millrace/base';
import { documentName, type Revoked } from '@millrace/protocol';
import type { ControlContext } from './context.ts';
import { type InvitationRecord, type OrganisationRecord, signerOf, type UserRecord } from './records.ts';
import { userOf } from './signers.ts';

export function organisationView({ document, ...record }: OrganisationRecord) {
  return { ...record, document: toBase64(document) };
}

export async function keyView(
  context: Pick<ControlContext, 'directory' | 'records'>,
  record: UserRecord,
): Promise<KeyView> {
  const { directory } = context;
  const { user, name, member, document } = record;
  const revoked = directory.revocations?.of(user)[0];
  return {
    key: user,
    name,
    ...member,
    ...(member && { inviter: (await userOf(context, member.invitedBy)) ?? { key: member.invitedBy } }),
    ...(revoked && { revoked: revokedView(revoked) }),
    credential: toBase64(document),
  };
}

function revokedView({ at, organisation, kept }: Revoked) {
  return { at, ...(organisation === undefined ? {} : { organisation }), kept: kept.size };
}

export async function invitationView(
  context: Pick<ControlContext, 'directory' | 'records'>,
  record: InvitationRecord,
): Promise<InvitationView> {
  const { directory } = context;
  const inviter = (await userOf(context, record.invitedBy)) ?? { key: record.invitedBy };
  const revoked = (directory.revocations?.of(record.invitation) ?? []).length > 0;
  return { ...record, inviter, revoked, document: toBase64(record.document), signer: toBase64(record.signer) };
}

/**
 * Documents signed by a key that are valid until the key is revoked: licences, statements on them, invitations,
 * deletions, material certificates, groups of machines.
 */
export async function signedDocuments({ records }: ControlContext, key: string): Promise<SignedDocumentView[]> {
  const listed: SignedDocumentView[] = [];
  const add = (type: string, about: string, document: Uint8Array) =>
    listed.push({ type, about, hash: toBase64(documentName(document)) });
  for await (const [id, { transaction, statement }] of records.licences.list({ index: 'signer', group: key })) {
    if (signerOf(transaction) === key) add('licence.grant', id, transaction);
    // A suspended or revoked licence keeps its status on a restored node.
    if (statement !== undefined && signerOf(statement.transaction) === key)
      add('licence statement', id, statement.transaction);
  }
  for await (const [id, { deletion }] of records.designs.list({ index: 'signer', group: key }))
    if (deletion !== undefined) add('design.delete', id, deletion.transaction);
  for await (const [object, { decision }] of records.cases.list({ index: 'decider', group: key }))
    if (decision !== undefined) add('case.decide', object, decision.transaction);
  for await (const [id, { certificate }] of records.materials.list({ index: 'signer', group: key }))
    add('material.certify', id, certificate);
  for await (const [id, { transaction }] of records.groups.list({ index: 'signer', group: key }))
    add('group.set', id, transaction);
  for await (const [id, { document, usedBy }] of records.invitations.list({ index: 'inviter', group: key }))
    if (usedBy !== undefined) add('invitation', id, document);
  return listed;
}
