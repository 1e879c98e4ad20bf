import { MillraceError, mapAhead } from '@millrace/base';
import { type AccountHead, MAP_ACCOUNT } from '@millrace/ledger';
import {
  licenceAccount,
  licenceOf,
  machineAccount,
  objectName,
  rehearsalAccount,
  visitAccount,
} from '@millrace/protocol';
import { type Actor, permits } from '../node/policy.ts';
import type { ControlContext } from './context.ts';
import { objectResource } from './life-records.ts';
import { printOf } from './object-prints.ts';
import { visitOf } from './visits.ts';

/** Reads in flight: in Cassandra, each takes some milliseconds. */
export const READS_AHEAD = 32;

/** An account belongs to the record of the same name. Whether the actor may read the record decides. */
export async function mayRead(context: ControlContext, actor: Actor, head: AccountHead | undefined): Promise<boolean> {
  if (head === undefined) return false;
  const { records } = context;
  const id = head.account.slice(head.account.indexOf(':') + 1);
  switch (head.kind) {
    case 'map':
      return true; // roots and a salt: every certificate contains one of these events
    case 'machine':
    case 'material':
      return permits(actor, 'machine.read');
    case 'design':
      return permits(actor, 'design.read', await records.designs.get(id));
    case 'licence':
      return permits(actor, 'licence.read', await records.licences.get(id));
    case 'object':
      if (head.account === rehearsalAccount(id))
        return permits(actor, 'rehearsal.read', await records.rehearsals.get(id));
      return head.account.startsWith('visit:')
        ? permits(actor, 'visit.read', await visitOf(context, head.account))
        : permits(actor, 'object.read', await objectPrint(context, head.account));
  }
}

/**
 * Whether the actor may learn that an account has no event. Objects that nobody has ordered are known to those who may
 * read the licence's objects.
 */
export async function mayReadAbsence({ records }: ControlContext, actor: Actor, account: string): Promise<boolean> {
  if (!objectName.safeParse(account).success) return false;
  const licence = await records.licences.get(licenceOf(account));
  return licence !== undefined && permits(actor, 'object.read', { owner: licence.owner, holder: licence.holder });
}

async function objectPrint(context: ControlContext, object: string) {
  try {
    return objectResource(await printOf(context, object));
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'E_NOT_FOUND') return undefined;
    throw error;
  }
}

/**
 * Names of all accounts that the actor may read, each once, by the indexes of the records. The cost depends on the
 * records of the actor's party and on the number of machines, not on the records of others.
 */
export async function* readableAccounts(context: ControlContext, actor: Actor): AsyncGenerator<string> {
  const check = async (account: string) =>
    (await mayRead(context, actor, await context.ledger.head(account))) ? account : undefined;
  for await (const account of mapAhead(distinct(accountsOf(context, actor)), READS_AHEAD, check))
    if (account !== undefined) yield account;
}

async function* distinct(names: AsyncIterable<string>): AsyncGenerator<string> {
  const seen = new Set<string>();
  for await (const name of names) {
    if (seen.has(name)) continue;
    seen.add(name);
    yield name;
  }
}

/** A superset: the index does not know which roles the actor has. */
async function* accountsOf({ records, ledger }: ControlContext, actor: Actor): AsyncGenerator<string> {
  if (actor.role !== 'user') return;
  yield MAP_ACCOUNT;
  for (const { account } of await ledger.accounts(machineAccount(''))) yield account;
  const parties = [actor.name, ...(actor.member === undefined ? [] : [actor.member.organisation])];
  for (const group of parties) {
    for await (const [design] of records.designs.list({ index: 'owner', group })) yield `design:${design}`;
    for await (const [licence] of records.licences.list({ index: 'party', group })) yield licenceAccount(licence);
    for await (const [rehearsal] of records.rehearsals.list({ index: 'party', group }))
      yield rehearsalAccount(rehearsal);
    for await (const [, { object }] of records.prints.list({ index: 'made', group }))
      if (object !== undefined) yield object;
  }
  const visits = actor.admin ? {} : { index: 'visitor', group: actor.name };
  for await (const [visit] of records.visits.list(visits)) yield visitAccount(visit);
}
