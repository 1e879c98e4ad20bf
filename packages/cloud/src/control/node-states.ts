import type { LedgerHead, nodeStateBody } from '@millrace/api';
import { MillraceError } from '@millrace/base';
import type { NodeRole } from '@millrace/protocol';
import type { z } from 'zod';
import type { ControlContext } from './context.ts';

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
  role: 'segments' | 'keys',
  { epoch, ledger, suspects }: z.output<typeof nodeStateBody>,
): Promise<LedgerHead> {
  const { records, quarantine } = context;
  for (const { role: who, reason } of suspects) quarantine.set(who, `${reason} (noticed by the ${role} node)`);
  const own = ledgerHead(context);
  if (ledger !== undefined && (ledger.size > own.size || (ledger.size === own.size && ledger.root !== own.root))) {
    const reason = `the ledger holds ${own.size} entries; the ${role} node has seen ${ledger.size} entries or a different ledger`;
    return refuse(context, 'control', reason);
  }
  const remembered = (await records.heads.get(role))?.epoch ?? 0;
  const least = role === 'keys' ? Math.max(remembered, (await records.heads.get('segments'))?.epoch ?? 0) : remembered;
  if (epoch < least)
    return refuse(context, role, `the ${role} node is at epoch ${epoch}; it has reported epoch ${least} before`);
  if (epoch > remembered && !(await records.heads.create(role, { epoch })))
    await records.heads.update(role, (current) => (current.epoch < epoch ? { epoch } : current));
  if (suspects.length > 0)
    throw new MillraceError('E_QUARANTINE', suspects[0]?.reason ?? 'a node was restored to an older state');
  quarantine.delete(role);
  return own;
}

function refuse({ quarantine, logger }: ControlContext, role: NodeRole, reason: string): never {
  if (quarantine.get(role) !== reason)
    logger.error(
      { code: 'E_QUARANTINE', subject: role, reason },
      'node is quarantined: it is older than its peers remember',
    );
  quarantine.set(role, reason);
  throw new MillraceError('E_QUARANTINE', reason, { data: { node: role } });
}

/**
 * @throws {MillraceError} E_QUARANTINE when control itself may be in an older state: it then permits and changes
 * nothing
 */
export function requireNewest({ quarantine }: ControlContext): void {
  const reason = quarantine.get('control');
  if (reason !== undefined) throw new MillraceError('E_QUARANTINE', reason, { data: { node: 'control' } });
}
