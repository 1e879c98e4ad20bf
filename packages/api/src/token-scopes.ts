import { type TokenScope, tokenScopes } from '@millrace/protocol/shapes';
import type { Action } from './actions.ts';

/**
 * The actions of each scope. A token may perform an action if one of its scopes has it and its person may perform it.
 * No scope has an action that a signature decides.
 */
export const scopeActions: Readonly<Record<TokenScope, readonly Action[]>> = {
  'designs:read': ['design.list', 'design.read', 'design.open'],
  'licences:read': ['licence.list', 'licence.read', 'usage.list', 'usage.read'],
  'prints:read': ['print.list', 'print.read', 'print.readInFull', 'object.read'],
  'machines:read': ['machine.read', 'group.list', 'material.list'],
  'ledger:read': ['ledger.read'],
  'people:read': ['organisation.list', 'member.list', 'key.read', 'token.list', 'token.listAll', 'session.list'],
  'status:read': ['status.read', 'status.readDamaged', 'metrics.read', 'usage.total'],
  'vault:check': ['vault.check'],
};

/** Actions of every token. */
const always: readonly Action[] = ['api.read', 'directory.read', 'token.readCurrent', 'event.read'];

/** The scopes with which a token may perform an action; `any` if every token may. */
export function scopesOf(action: Action): readonly TokenScope[] | 'any' {
  return always.includes(action) ? 'any' : tokenScopes.filter((scope) => scopeActions[scope].includes(action));
}

export function inScope(scopes: readonly TokenScope[], action: Action): boolean {
  return always.includes(action) || scopes.some((scope) => scopeActions[scope].includes(action));
}
