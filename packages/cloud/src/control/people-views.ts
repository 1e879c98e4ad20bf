import type { InvitationView, KeyView, SignedDocumentView } from '@millrace/api';
import { toBase64 } from '@millrace/base';
import { documentName, type Revoked } from '@millrace/protocol';
import type { ControlContext } from './context.ts';
import type { InvitationRecord, OrganisationRecord, UserRecord } from './records.ts';

export function organisationView({ organisation, name, kinds, created }: OrganisationRecord) {
  return { organisation, name, kinds, created };
}

export function keyView({ directory }: Pick<ControlContext, 'directory'>, record: UserRecord): KeyView {
  const { user, name, member, document } = record;
  const revoked = directory.revocations?.of(user)[0];
  return {
    key: user,
    name,
    ...member,
    ...(revoked && { revoked: revokedView(revoked) }),
    credential: toBase64(document),
  };
}

function revokedView({ at, organisation, kept }: Revoked) {
  return { at, ...(organisation === undefined ? {} : { organisation }), kept: kept.size };
}

export function invitationView(
  { directory }: Pick<ControlContext, 'directory'>,
  record: InvitationRecord,
): InvitationView {
  const revoked = (directory.revocations?.of(record.invitation) ?? []).length > 0;
  return { ...record, revoked, document: toBase64(record.document), signer: toBase64(record.signer) };
}

/**
 * Documents signed by a key that are valid until the key is revoked: licences, statements on them, invitations,
 * deletions.
 */
export async function signedDocuments({ records }: ControlContext, key: string): Promise<SignedDocumentView[]> {
  const listed: SignedDocumentView[] = [];
  const add = (type: string, about: string, document: Uint8Array) =>
    listed.push({ type, about, hash: toBase64(documentName(document)) });
  for await (const [id, { owner, transaction, statement }] of records.licences.list({ index: 'party', group: key })) {
    if (owner !== key) continue;
    add('licence.grant', id, transaction);
    // A suspended or revoked licence keeps its status on a restored node.
    if (statement !== undefined) add('licence statement', id, statement.transaction);
  }
  for await (const [id, { deletion }] of records.designs.list({ index: 'owner', group: key }))
    if (deletion !== undefined) add('design.delete', id, deletion.transaction);
  for await (const [id, { document, usedBy }] of records.invitations.list({ index: 'inviter', group: key }))
    if (usedBy !== undefined) add('invitation', id, document);
  return listed;
}
