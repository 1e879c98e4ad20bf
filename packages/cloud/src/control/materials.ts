import type { MaterialView, Page, PageQuery, SpoolStatementView, SpoolView } from '@millrace/api';
import { MillraceError, toBase64 } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { type Signed, type TransactionOf, verifyMaterial } from '@millrace/protocol';
import { authorize, type UserActor } from '../node/policy.ts';
import type { ControlContext } from './context.ts';
import {
  type MaterialRecord,
  type SpoolRecord,
  type SpoolStatementRecord,
  statementGroup,
} from './material-records.ts';
import { signingActor } from './people.ts';
import { replay } from './replay.ts';
import { page } from './views.ts';

/**
 * Keeps a supplier's certificate of a spool. It is valid without control: whoever relies on it verifies it again.
 * @throws {MillraceError} E_FORBIDDEN (no certifier of a supplier), E_INPUT (it ends before it begins), E_REPLAY
 */
export async function certifyMaterial(
  context: ControlContext,
  { body, signer, bytes }: Signed<TransactionOf<'material.certify'>>,
  spool: string,
) {
  const { directory, records, clock } = context;
  const key = keyName(signer);
  const actor = await signingActor(context, key);
  const organisation = actor.member?.organisation ?? '';
  authorize(actor, 'material.certify', { organisation });
  const { document } = await records.users.require(key);
  await verifyMaterial(bytes, document, directory);
  if (body.until <= body.made) throw new MillraceError('E_INPUT', 'the material expires before it was made');
  const record = { spool, organisation, signer: key, certificate: bytes, supplier: document, created: clock.now() };
  if (!(await records.materials.create(spool, record))) throw replay(spool);
  return { spool };
}

/** Certificates of the user's organisation, the newest first. */
export async function materialsPage(
  context: ControlContext,
  { member }: UserActor,
  query: PageQuery,
): Promise<Page<MaterialView>> {
  if (member === undefined) return { items: [] };
  const at = { index: 'organisation', group: member.organisation, reverse: true };
  return page(context, context.records.materials, at, query, async (record) => materialView(record));
}

/** Spools that the user's organisation (or key, without one) has loaded; every spool for the administrator. */
export function spoolsPage(
  context: ControlContext,
  { name, admin, member }: UserActor,
  query: PageQuery,
): Promise<Page<SpoolView>> {
  const at = admin ? {} : { index: 'party', group: member?.organisation ?? name, reverse: true };
  return page(context, context.records.spools, at, query, async (record) => spoolView(record));
}

/** Statements on the spools of a machine that the user's party has loaded; all for the administrator. The oldest first. */
export function spoolStatementsPage(
  context: ControlContext,
  { name, admin, member }: UserActor,
  machine: string,
  query: PageQuery,
): Promise<Page<SpoolStatementView>> {
  const party = member?.organisation ?? name;
  const at = admin ? { index: 'machine', group: machine } : { index: 'party', group: statementGroup(machine, party) };
  return page(context, context.records.spoolStatements, at, query, async (record) => statementView(record));
}

function statementView({ statement, spool, at, used, ...signed }: SpoolStatementRecord): SpoolStatementView {
  const { transaction, credential, supplier } = signed;
  return {
    ...{ statement, spool, at, used, transaction: toBase64(transaction), credential: toBase64(credential) },
    ...(supplier && { supplier: toBase64(supplier) }),
  };
}

function spoolView({ spool, name, serial, certifiedBy, machine, grams, used, by, at, number }: SpoolRecord): SpoolView {
  return { spool, name, serial, supplier: certifiedBy, machine, grams, used, by, at, number };
}

function materialView({ spool, certificate, supplier, created }: MaterialRecord): MaterialView {
  return { spool, certificate: toBase64(certificate), supplier: toBase64(supplier), created };
}
