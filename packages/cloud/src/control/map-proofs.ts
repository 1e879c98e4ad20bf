import type { MapAnswer, MapQuery } from '@millrace/api';
import { MillraceError, mapAhead, toBase64 } from '@millrace/base';
import { type AccountProof, type Ledger, MAP_ACCOUNT, type MapValue } from '@millrace/ledger';
import type { Actor } from '../node/policy.ts';
import type { ControlContext } from './context.ts';
import { mayRead, mayReadAbsence, READS_AHEAD } from './readable-accounts.ts';

/**
 * Proofs of the newest events of these accounts, or of their absence, for an actor that may read them.
 * @throws {MillraceError} E_FORBIDDEN; as `answerMapQuery`
 */
export async function mapProofs(context: ControlContext, actor: Actor, query: MapQuery): Promise<MapAnswer> {
  const { ledger } = context;
  const isAllowed = async (account: string) => {
    const head = await ledger.head(account);
    return head === undefined ? mayReadAbsence(context, actor, account) : mayRead(context, actor, head);
  };
  for await (const allowed of mapAhead(query.accounts, READS_AHEAD, isAllowed))
    if (!allowed)
      throw new MillraceError('E_FORBIDDEN', 'the account belongs to somebody else, or the role does not allow it');
  return answerMapQuery(ledger, query);
}

/**
 * Logs the map if the newest logged root does not cover the caller's tree head.
 * @throws {MillraceError} E_INPUT for a head beyond the log; as `Ledger.logMap` if a root cannot be logged
 */
export async function answerMapQuery(ledger: Ledger, { size, accounts }: MapQuery): Promise<MapAnswer> {
  if (size > ledger.size)
    throw new MillraceError('E_INPUT', `size: the ledger has ${ledger.size} entries, not ${size}`);
  const newest = await ledger.head(MAP_ACCOUNT);
  if (newest === undefined || newest.index + 1 < size) await ledger.logMap();
  const proven = await ledger.mapProofs(accounts);
  if (proven === undefined) throw new MillraceError('E_INTERNAL', 'the logged map gives no proofs');
  return { index: proven.logged.index, proofs: proven.proofs.map(textOf) };
}

function textOf({ newest, siblings, other }: AccountProof): MapAnswer['proofs'][number] {
  return {
    siblings: siblings.map(toBase64),
    ...(newest && { newest: valueText(newest) }),
    ...(other && { other: { key: toBase64(other.key), ...valueText(other) } }),
  };
}

const valueText = ({ sequence, hash }: MapValue) => ({ sequence, hash: toBase64(hash) });
