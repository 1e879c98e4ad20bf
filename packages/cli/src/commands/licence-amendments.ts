import { MillraceError } from '@millrace/base';
import {
  type Approvable,
  approvable,
  approveLicence,
  extendLicence,
  type Session,
  transferLicence,
} from '@millrace/client';
import { holderParty, type LicensedGroup, partyName } from '@millrace/protocol';
import { formatFields } from '../output/format.ts';
import { type Context, withSession } from './context.ts';
import { licenceNamed, type WhereOptions, whereOf } from './licence.ts';
import { machineName } from './machine-names.ts';

/** Shows what waits for this user's approval, and signs that the user approves it. */
export function approve(context: Context, licence: string): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const { licence: id } = await licenceNamed(session, licence);
    const waiting = await approvable(session, id);
    const approved: string[] = [];
    for (const document of waiting) {
      if (!(await approveOnce(session, id, document))) continue;
      approved.push(describe(session, document));
    }
    if (approved.length === 0) throw new MillraceError('E_STATE', `licence ${id} waits for no approval of yours`);
    const { approvals, status } = await session.api.licence(id);
    context.terminal.result(
      { licence: id, approved: approved.length, approvals, status },
      [`You have approved licence ${id}:`, ...approved, standing(approvals, status)].join('\n'),
    );
  });
}

/** @returns false if this user has approved it already */
async function approveOnce(session: Session, licence: string, document: Approvable): Promise<boolean> {
  try {
    await approveLicence(session, licence, document);
    return true;
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'E_STATE') return false;
    throw error;
  }
}

function standing({ needed, by }: { needed: number; by: readonly string[] }, status: string): string {
  if (status !== 'pending') return `It is ${status}.`;
  return `It waits for ${needed - by.length} more of ${needed} approvals.`;
}

function describe(session: Session, { body }: Approvable): string {
  const { contacts } = session;
  const user = (holder: Uint8Array | string) => {
    const name = partyName(holderParty(holder));
    return contacts.users.find((known) => known.user === name)?.name ?? name;
  };
  const machines = (list: readonly { machine: string }[]) =>
    list.map(({ machine }) => machineName(session, machine)).join(', ');
  const day = (time: number) => new Date(time).toISOString();
  switch (body.type) {
    case 'licence.grant':
      return formatFields(
        [
          ['grant', `${body.objects} objects of design ${body.design}`],
          ['machines', machines(body.machines) || undefined],
          ['groups', body.groups?.map(groupName).join(', ')],
          ['materials', body.materials.join(', ') || 'any'],
          ['holder', user(body.holder)],
          ['valid', `${day(body.notBefore)} to ${day(body.notAfter)}`],
        ],
        '  ',
      );
    case 'licence.extend':
      return formatFields(
        [
          ['more machines', machines(body.machines) || undefined],
          ['more groups', body.groups?.map(groupName).join(', ')],
        ],
        '  ',
      );
    case 'licence.transfer':
      return formatFields([['new holder', user(body.to)]], '  ');
  }
}

/** A group as the owner signs it: an approver sees whether the organisation may add machines. */
const groupName = ({ group, organisation, machines, kinds }: LicensedGroup): string =>
  `${machines === 'any' ? 'any machine' : 'the named machines'}${kinds ? ` of kind ${kinds.join(', ')}` : ''} of group ${group} of organisation ${organisation}`;

export function extend(context: Context, licence: string, options: WhereOptions) {
  return withSession(context, 'owner', async (session) => {
    const { licence: id } = await licenceNamed(session, licence);
    const added = await extendLicence(session, id, whereOf(options));
    const [machines, groups] = [added.machines.map(({ machine }) => machine), added.groups ?? []];
    const waits = (await session.api.licence(id)).approvals.waiting > 0;
    context.terminal.result(
      { licence: id, machines, groups },
      `Licence ${id} names ${[...machines, ...groups.map(groupName)].join(', ')} too${waits ? ', as soon as the approvers have approved' : ''}.`,
    );
  });
}

export function transfer(context: Context, licence: string, options: { readonly to: string }): Promise<void> {
  return withSession(context, 'operator', async (session) => {
    const view = await licenceNamed(session, licence);
    await transferLicence(session, view, options.to);
    const waits = view.transfer === 'with-approval';
    context.terminal.result(
      { licence: view.licence, to: options.to, waits },
      waits
        ? `Licence ${view.licence} goes to ${options.to} when its owner approves: \`licence approve\`.`
        : `Licence ${view.licence} is ${options.to}’s: what is left of it, from now on.`,
    );
  });
}
