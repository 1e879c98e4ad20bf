import type { LedgerHead, nodeStateBody } from '@millrace/api';
import { MillraceError } from '@millrace/base';
import type { NodeRole } from '@millrace/protocol';
import type { z } from 'zod';
import type { ControlContext } from './context.ts';

interface ProactiveNode {
  readonly id: string;
  readonly role: 'segments' | 'keys';
}

/** Size and root of the ledger, from its newest checkpoint (C2SP: origin, size, root). */
export function ledgerHead({ ledger }: ControlContext): LedgerHead {
  const [, size = '0', root = ''] = new TextDecoder().decode(ledger.checkpoint()).split('\n');
  return { size: Number(size), root };
}

/**
 * Compares a proactive node's state with control's records. A node whose epoch is below the newest one that it reported
 * was restored to an older state. If a node has seen more of the ledger than control holds, control was restored.
 * @throws {MillraceError} E_QUARANTINE
 */
export async function checkNodeState(
  context: ControlContext,
  node: ProactiveNode,
  { epoch, ledger, suspicion }: z.output<typeof nodeStateBody>,
): Promise<LedgerHead> {
  const { records, quarantine } = context;
  const { id, role } = node;
  const own = ledgerHead(context);
  if (ledger !== undefined && (ledger.size > own.size || (ledger.size === own.size && ledger.root !== own.root))) {
    const reason = `the ledger holds ${own.size} entries; the ${role} node has seen ${ledger.size} entries or a different ledger`;
    return refuse(context, { id: context.id, role: 'control' }, reason);
  }
  const remembered = (await records.heads.get(id))?.epoch ?? 0;
  const least = role === 'keys' ? Math.max(remembered, await newestOfSegments(context)) : remembered;
  if (epoch < least)
    return refuse(context, node, `the ${role} node is at epoch ${epoch}; it has reported epoch ${least} before`);
  if (epoch > remembered && !(await records.heads.create(id, { role, epoch })))
    await records.heads.update(id, (current) => (current.epoch < epoch ? { role, epoch } : current));
  if (suspicion !== undefined) return refuse(context, node, `${suspicion} (reported by the ${role} node)`);
  quarantine.delete(id);
  return own;
}

/** Newest epoch that a segments node has reported. A keys node is never behind it. */
async function newestOfSegments({ records }: ControlContext): Promise<number> {
  let newest = 0;
  for await (const [, head] of records.heads.list())
    if (head.role === 'segments') newest = Math.max(newest, head.epoch);
  return newest;
}

function refuse(
  { quarantine, logger }: ControlContext,
  { id, role }: { readonly id: string; readonly role: NodeRole },
  reason: string,
): never {
  if (quarantine.get(id)?.reason !== reason)
    logger.error(
      { code: 'E_QUARANTINE', subject: id, reason },
      'node is quarantined: it is older than its peers remember',
    );
  quarantine.set(id, { role, reason });
  throw new MillraceError('E_QUARANTINE', reason, { data: { node: id } });
}

/**
 * @throws {MillraceError} E_QUARANTINE when control itself may be in an older state. Control then grants no permits and
 * changes nothing
 */
export function requireNewest({ id, quarantine }: ControlContext): void {
  const found = quarantine.get(id);
  if (found !== undefined) throw new MillraceError('E_QUARANTINE', found.reason, { data: { node: id } });
}
