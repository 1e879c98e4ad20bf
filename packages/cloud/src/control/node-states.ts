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
 * A proactive node says where it stands. Control remembers the newest epoch of each; a node that has less was put back to
 * an older state, and so was control when a node has seen more of the ledger than there is.
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
    const reason = `the ledger holds ${own.size} entries; the ${role} node has seen ${ledger.size}, or others`;
    return refuse(context, 'control', reason);
  }
  const remembered = (await records.heads.get(role))?.epoch ?? 0;
  const least = role === 'keys' ? Math.max(remembered, (await records.heads.get('segments'))?.epoch ?? 0) : remembered;
  if (epoch < least)
    return refuse(context, role, `the ${role} node is at epoch ${epoch}; it has been at epoch ${least}`);
  if (epoch > remembered && !(await records.heads.create(role, { epoch })))
    await records.heads.update(role, (current) => (current.epoch < epoch ? { epoch } : current));
  if (suspects.length > 0) throw new MillraceError('E_QUARANTINE', suspects[0]?.reason ?? 'a node is older');
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

/** Control itself may be the older one: then it permits and changes nothing. @throws {MillraceError} E_QUARANTINE */
export function requireNewest({ quarantine }: ControlContext): void {
  const reason = quarantine.get('control');
  if (reason !== undefined) throw new MillraceError('E_QUARANTINE', reason, { data: { node: 'control' } });
}
