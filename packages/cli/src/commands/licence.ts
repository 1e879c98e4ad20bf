import { MillraceError } from '@millrace/base';
import {
  grantLicence,
  type LicenceView,
  namedDesigns,
  pick,
  reinstateLicence,
  resumeLicence,
  revokeLicence,
  type Session,
  suspendLicence,
} from '@millrace/client';
import { type Disclosure, disclosures, usualDisclosures } from '@millrace/protocol';
import { commandName } from '../output/command-name.ts';
import { formatFields, formatTable } from '../output/format.ts';
import { type Context, wholeNumber, withSession } from './context.ts';

export interface GrantOptions {
  readonly design: string;
  readonly objects: string;
  readonly machine: readonly string[];
  readonly material?: readonly string[];
  readonly days: string;
  readonly holder: string;
  readonly disclose?: string;
}

export function grant(context: Context, options: GrantOptions): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const design = pick('design', options.design, await namedDesigns(session), (view) => [view.design, view.name]);
    if (design.state === 'refused') throw new MillraceError('E_STATE', `design ${design.name} was refused`);
    const terms = {
      design: design.design,
      objects: wholeNumber(options.objects, '--objects', 1, 1_000_000),
      machines: options.machine,
      materials: options.material ?? [],
      days: wholeNumber(options.days, '--days', 1, 36_500),
      holder: options.holder,
      disclose: disclosedBy(options.disclose),
    };
    const licence = await grantLicence(session, terms);
    context.terminal.result(
      { licence, ...terms },
      [
        `Licence ${licence}`,
        formatFields(
          [
            ['design', `${design.name} (${design.design})`],
            ['objects', String(terms.objects)],
            ['machines', terms.machines.join(', ')],
            ['materials', terms.materials.join(', ') || 'any'],
            ['holder', terms.holder],
            ['days', String(terms.days)],
            ['secret', design.custody === 'owner' ? 'sealed by you to each machine' : 'held by the keys node'],
            ['the holder sees', terms.disclose.join(', ') || 'no live figures'],
          ],
          '  ',
        ),
        `Print with \`${commandName} print --licence ${licence} --machine ${terms.machines[0] ?? ''} --watch\`.`,
      ].join('\n'),
    );
  });
}

/** "position" discloses it to people at the machine; the cloud cannot read it. @throws {MillraceError} E_INPUT */
function disclosedBy(list: string | undefined): readonly Disclosure[] {
  if (list === undefined) return usualDisclosures;
  const words = list === 'none' ? [] : list.split(',');
  return words.map((word) => {
    const known = disclosures.find((name) => name === word);
    if (known === undefined) {
      throw new MillraceError('E_INPUT', `--disclose: expected none, or some of ${disclosures.join(',')}; not ${word}`);
    }
    return known;
  });
}

export function list(context: Context): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const licences = await session.api.licences();
    context.terminal.result(
      { licences },
      licences.length === 0
        ? 'No licences yet.'
        : formatTable(
            ['licence', 'design', 'objects', 'permitted', 'holder', 'materials', 'status'],
            licences.map((view) => [
              view.licence,
              view.design,
              String(view.objects),
              String(view.permitted),
              holderOf(session, view),
              view.materials.join(', ') || 'any',
              statusOf(view),
            ]),
          ),
    );
  });
}

/** The owner's statement of how many objects are left, after a backup was restored without control's current counts. */
export function resume(context: Context, licence: string, options: { readonly left: string }): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const view = await licenceNamed(session, licence);
    const left = wholeNumber(options.left, '--left', 0, view.objects);
    await resumeLicence(session, view, left);
    context.terminal.result(
      { licence: view.licence, left },
      `Licence ${view.licence} is resumed: ${left} of its ${view.objects} objects are left.`,
    );
  });
}

export function show(context: Context, licence: string): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const view = await licenceNamed(session, licence);
    const day = (time: number) => new Date(time).toISOString();
    context.terminal.result(
      view,
      [
        `Licence ${view.licence}: ${statusOf(view)}`,
        formatFields(
          [
            ['design', view.design],
            ['objects', `${view.objects}, of which ${view.permitted} are permitted`],
            ['machines', view.machines.join(', ')],
            ['materials', view.materials.join(', ') || 'any'],
            ['holder', holderOf(session, view)],
            ['valid', `${day(view.notBefore)} to ${day(view.notAfter)}`],
            ['the holder sees', view.disclose.join(', ') || 'no live figures'],
          ],
          '  ',
        ),
      ].join('\n'),
    );
  });
}

export function suspend(context: Context, licence: string): Promise<void> {
  return changeStatus(context, licence, suspendLicence, 'is suspended: no object begins until you reinstate it');
}

export function reinstate(context: Context, licence: string): Promise<void> {
  return changeStatus(context, licence, reinstateLicence, 'is active again: prints have to be requested again');
}

export function revoke(context: Context, licence: string, options: { readonly stop?: boolean }): Promise<void> {
  const stop = options.stop === true;
  const running = stop ? 'what is being made is stopped' : 'what is being made is finished';
  const change = (session: Session, view: LicenceView) => revokeLicence(session, view, { stop });
  return changeStatus(context, licence, change, `is revoked for ever: ${running}`);
}

function changeStatus(
  context: Context,
  licence: string,
  change: (session: Session, view: LicenceView) => Promise<void>,
  outcome: string,
): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const { licence: id } = await licenceNamed(session, licence);
    await change(session, await session.api.licence(id));
    const { status } = await session.api.licence(id);
    context.terminal.result({ licence: id, status }, `Licence ${id} ${outcome}.`);
  });
}

async function licenceNamed(session: Session, licence: string): Promise<LicenceView> {
  return pick('licence', licence, await session.api.licences(), (each) => [each.licence]);
}

function statusOf({ status, suspended }: LicenceView): string {
  if (status !== 'revoked' && suspended !== undefined) return `suspended by a restore, at most ${suspended.most} left`;
  return status;
}

function holderOf({ contacts }: Session, { holder }: LicenceView): string {
  return contacts.users.find(({ user }) => user === holder)?.name ?? holder;
}
