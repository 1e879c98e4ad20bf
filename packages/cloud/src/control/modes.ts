import { MillraceError } from '@millrace/base';
import type { MessageOf, TransactionOf } from '@millrace/protocol';
import { authorize } from '../node/policy.ts';
import type { ControlContext } from './context.ts';
import { requireKept } from './designs.ts';
import { signerOf } from './records.ts';
import type { Submitted } from './submitted.ts';

// Changes of a design's maintenance mode, requested by its owner.

/**
 * Accepts the owner's signed request for another mode. The newest request wins. @throws {MillraceError} E_FORBIDDEN,
 * E_DESIGN_DELETED, E_MODE_FIXED
 */
export async function setMaintenance(
  context: ControlContext,
  { body, actor, credential, bytes }: Submitted<TransactionOf<'design.maintenance'>>,
  id: string,
) {
  const { design, mode } = body;
  await context.records.designs.update(design, (current) => {
    authorize(actor, 'design.setMaintenance', current);
    requireKept(current);
    if (current.state !== 'stored') throw new MillraceError('E_STATE', `the design is ${current.state}`);
    requireSettable(current.maintenance);
    return { ...current, setting: { id, mode, transaction: bytes, credential, announced: false } };
  });
  await announceMaintenance(context, design);
  return { design };
}

function requireSettable(mode: string | undefined): void {
  if (mode !== undefined && mode !== 'rekey' && mode !== 'delta')
    throw new MillraceError('E_MODE_FIXED', `the design was uploaded as ${mode}, which cannot change`);
}

/** Mails the request to the keys node. Safe to repeat. */
export async function announceMaintenance({ records, mailbox }: ControlContext, design: string): Promise<void> {
  const { setting } = await records.designs.require(design);
  if (setting === undefined || setting.announced) return;
  const { id, transaction, credential } = setting;
  await mailbox.send({ role: 'keys', partition: design }, `maintenance/${id}`, {
    type: 'design.maintenance',
    design,
    transaction,
    credential,
  });
  await records.designs.update(design, (current) =>
    current.setting?.id === id ? { ...current, setting: { ...setting, announced: true } } : current,
  );
}

/** Handles the report that the keys node has set the mode. The ledger keeps the owner's signed request as evidence. */
export async function takeMaintained(
  { records, ledger }: ControlContext,
  { design, transaction, mode }: MessageOf<'design.maintained'>,
): Promise<void> {
  const { setting } = await records.designs.require(design);
  if (setting?.id !== transaction) return; // a newer request is on its way
  await ledger.append({
    account: `design:${design}`,
    type: 'stored',
    actor: signerOf(setting.transaction),
    body: { fact: 'maintenance', mode },
    evidence: [setting.transaction, setting.credential],
    eventId: `maintenance/${transaction}`,
  });
  await records.designs.update(design, (current) => {
    if (current.setting?.id !== transaction) return current;
    const { setting: _taken, ...kept } = current;
    return { ...kept, maintenance: mode };
  });
}
