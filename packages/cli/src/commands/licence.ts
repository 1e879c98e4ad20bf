import { MillraceError } from '@millrace/base';
import { grantLicence, type LicenceView, namedDesigns, pick, resumeLicence } from '@millrace/client';
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

/** "position" is for who stands at the machine; the cloud cannot read it. @throws {MillraceError} E_INPUT */
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
    const { users } = session.contacts;
    const holder = ({ holder }: LicenceView) => users.find(({ user }) => user === holder)?.name ?? holder;
    context.terminal.result(
      { licences },
      licences.length === 0
        ? 'No licences yet.'
        : formatTable(
            ['licence', 'design', 'objects', 'permitted', 'holder', 'materials', 'suspended'],
            licences.map((view) => [
              view.licence,
              view.design,
              String(view.objects),
              String(view.permitted),
              holder(view),
              view.materials.join(', ') || 'any',
              view.suspended === undefined ? 'no' : `at most ${view.suspended.most} left`,
            ]),
          ),
    );
  });
}

/** After a backup was restored without control's counts of today: the owner's word on what is left. */
export function resume(context: Context, licence: string, options: { readonly left: string }): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const view = pick('licence', licence, await session.api.licences(), (each) => [each.licence]);
    const left = wholeNumber(options.left, '--left', 0, view.objects);
    await resumeLicence(session, view, left);
    context.terminal.result(
      { licence: view.licence, left },
      `Licence ${view.licence} goes on: ${left} of its ${view.objects} objects are left.`,
    );
  });
}
