import type { Page, PageQuery } from '@millrace/api';
import { MillraceError, toBase64 } from '@millrace/base';
import type { AccountHead } from '@millrace/ledger';
import { type Actor, permits } from '../node/policy.ts';
import type { ControlContext } from './context.ts';
import { printOf } from './reports.ts';

/** Maximum entries examined for one request. */
const MAX_ENTRIES = 2_048;
/** Size of the openings in one answer, bytes. One opening may exceed it. */
const MAX_BYTES = 1_048_576;

/**
 * Openings of the entries that the actor may read, in the order of the log. The cursor is the index of the next entry.
 */
export async function openingsPage(
  context: ControlContext,
  actor: Actor,
  { limit, cursor = '0' }: PageQuery,
): Promise<Page<{ index: number; opening: string }>> {
  if (!/^(0|[1-9][0-9]{0,15})$/.test(cursor)) throw new MillraceError('E_INPUT', 'cursor: not an index of the log');
  const { ledger } = context;
  const size = ledger.size;
  const readable = new Map<string, boolean>();
  const items: { index: number; opening: string }[] = [];
  let next = Number(cursor);
  let bytes = 0;
  for await (const { index, event, opening } of ledger.events(next)) {
    if (index >= size || index >= Number(cursor) + MAX_ENTRIES || items.length === limit || bytes >= MAX_BYTES) break;
    next = index + 1;
    const { account } = event;
    const known = readable.get(account) ?? (await mayRead(context, actor, await ledger.head(account)));
    readable.set(account, known);
    if (!known) continue;
    items.push({ index, opening: toBase64(opening) });
    bytes += opening.length;
  }
  return next < size ? { items, next: String(next) } : { items };
}

/** An account belongs to the record of the same name. Whether the actor may read the record decides. */
async function mayRead(context: ControlContext, actor: Actor, head: AccountHead | undefined): Promise<boolean> {
  if (head === undefined) return false;
  const { records } = context;
  const id = head.account.slice(head.account.indexOf(':') + 1);
  switch (head.kind) {
    case 'machine':
    case 'material':
      return permits(actor, 'machine.read');
    case 'design':
      return permits(actor, 'design.read', await records.designs.get(id));
    case 'licence':
      return permits(actor, 'licence.read', await records.licences.get(id));
    case 'object':
      return permits(actor, 'print.read', await objectPrint(context, head.account));
  }
}

async function objectPrint(context: ControlContext, object: string) {
  try {
    return await printOf(context, object);
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'E_NOT_FOUND') return undefined;
    throw error;
  }
}
