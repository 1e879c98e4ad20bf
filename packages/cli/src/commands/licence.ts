import { MillraceError } from '@millrace/base';
import {
  createNames,
  grantLicence,
  type LicenceView,
  type Names,
  namedDesigns,
  pick,
  type RehearsalView,
  reinstateLicence,
  resumeLicence,
  revokeLicence,
  type Session,
  suspendLicence,
  type WhereTerms,
} from '@millrace/client';
import {
  type CreditPolicy,
  type Disclosure,
  disclosures,
  MAX_CREDITS,
  type TransferPolicy,
  transferPolicies,
  usualDisclosures,
} from '@millrace/protocol';
import { commandName } from '../output/command-name.ts';
import { formatFields, formatTable } from '../output/format.ts';
import { type Context, wholeNumber, withSession } from './context.ts';
import { machineName } from './machine-names.ts';
import { priceOf, priceText } from './price.ts';
import { rehearsalText } from './rehearse.ts';

/** Where the objects of a licence may be made. */
export interface WhereOptions {
  readonly machine?: readonly string[];
  readonly group?: readonly string[];
  readonly site?: readonly string[];
  readonly laterMachines?: boolean;
  readonly kind?: readonly string[];
}

export function whereOf({ machine, group, site, laterMachines, kind }: WhereOptions): WhereTerms {
  return {
    machines: machine ?? [],
    groups: group ?? [],
    sites: site ?? [],
    members: laterMachines === true ? 'any' : 'named',
    ...(kind && { kinds: kind }),
  };
}

export interface GrantOptions extends WhereOptions {
  readonly design: string;
  readonly objects: string;
  readonly material?: readonly string[];
  readonly supplier?: readonly string[];
  readonly days: string;
  readonly holder: string;
  readonly disclose?: string;
  readonly transferable?: string | true;
  readonly price?: string;
  readonly every?: string;
  readonly from?: string;
  readonly quota?: string;
  readonly overage?: string;
  readonly creditBelow?: string;
  readonly creditMost?: string;
}

export function grant(context: Context, options: GrantOptions): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const design = pick('design', options.design, await namedDesigns(session), (view) => [view.design, view.name]);
    if (design.state === 'refused') throw new MillraceError('E_STATE', `design ${design.name} was refused`);
    const terms = {
      design: design.design,
      objects: wholeNumber(options.objects, '--objects', 1, 1_000_000),
      ...whereOf(options),
      materials: options.material ?? [],
      suppliers: options.supplier ?? [],
      days: wholeNumber(options.days, '--days', 1, 36_500),
      holder: options.holder,
      disclose: disclosedBy(options.disclose),
      transfer: transferPolicyOf(options.transferable),
      price: priceOf(options, context.clock.now()),
      creditPolicy: creditPolicyOf(options),
    };
    const licence = await grantLicence(session, terms);
    const { status, approvals } = await session.api.licence(licence);
    context.terminal.result(
      { licence, ...terms },
      [
        `Licence ${licence}`,
        formatFields(
          [
            ['design', `${design.name} (${design.design})`],
            ['objects', String(terms.objects)],
            ...placesOf(terms),
            ['materials', terms.materials.join(', ') || 'any'],
            ['certified by', terms.suppliers.join(' or ') || undefined],
            ['holder', terms.holder],
            ['days', String(terms.days)],
            ['secret', design.custody === 'owner' ? 'sealed by you to each machine' : 'held by the keys node'],
            ['the holder sees', terms.disclose.join(', ') || 'no live figures'],
            ['transfer', transferText(terms.transfer)],
            ['price', priceText(terms.price)],
            ['credited by itself', creditText(terms.creditPolicy)],
          ],
          '  ',
        ),
        status === 'pending'
          ? `It has ${approvals?.by.length ?? 0} of ${approvals?.needed ?? 0} approvals. Approvers sign with \`${commandName} licence approve ${licence}\`.`
          : `Print with \`${commandName} print --licence ${licence}${choiceOf(terms)} --watch\`.`,
      ].join('\n'),
    );
  });
}

const placesOf = ({ machines, groups, sites, members }: WhereTerms) => {
  const later = members === 'any' ? ' (also machines that join later)' : ' (machines that are in it now)';
  const named = (names: readonly string[] = []) => names.map((name) => `${name}${later}`).join(', ') || undefined;
  return [
    ['machines', machines?.join(', ') || undefined],
    ['groups', named(groups)],
    ['sites', named(sites)],
  ] as const;
};

/** A licence that names one machine only needs no choice. */
function choiceOf({ machines: [first, ...others] = [], groups = [], sites = [] }: WhereTerms): string {
  const only = first !== undefined && others.length + groups.length + sites.length === 0;
  return only ? '' : ` --machine ${first ?? 'MACHINE'}`;
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

/** @throws {MillraceError} E_INPUT */
function transferPolicyOf(text: string | true | undefined): TransferPolicy | undefined {
  if (text === undefined) return undefined;
  const policy = text === true ? 'alone' : transferPolicies.find((known) => known === text);
  if (policy === undefined)
    throw new MillraceError('E_INPUT', `--transferable: expected ${transferPolicies.join(' or ')}, not ${text}`);
  return policy;
}

/** @throws {MillraceError} E_INPUT */
function creditPolicyOf({ creditBelow, creditMost }: GrantOptions): CreditPolicy | undefined {
  if (creditBelow === undefined) {
    if (creditMost !== undefined) throw new MillraceError('E_INPUT', '--credit-most needs --credit-below');
    return undefined;
  }
  return {
    below: wholeNumber(creditBelow, '--credit-below', 1, 1_000_000),
    most: wholeNumber(creditMost ?? '1', '--credit-most', 1, MAX_CREDITS),
  };
}

function creditText(policy: CreditPolicy | undefined): string | undefined {
  if (policy === undefined) return undefined;
  return `at most ${policy.most}, if the machine signs that fewer than ${policy.below} lines were executed`;
}

function transferText(policy: TransferPolicy | undefined): string {
  if (policy === undefined) return 'not allowed';
  return policy === 'alone' ? 'by the holder alone' : 'by the holder, with the owner’s approval';
}

function approvalsText({ contacts }: Session, { approvals }: LicenceView): string | undefined {
  const { needed, by, waiting } = approvals;
  if (needed === 0 && waiting === 0) return undefined;
  const names = by.map((user) => contacts.users.find((known) => known.user === user)?.name ?? user);
  const more = waiting === 0 ? '' : `; ${waiting} extensions or transfers wait`;
  return `${by.length} of ${needed}${names.length === 0 ? '' : ` (${names.join(', ')})`}${more}`;
}

export function list(context: Context): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const licences = await session.api.licences();
    const names = createNames(session);
    const who = await Promise.all(
      licences.map(
        async ({ grantedBy, holder }) => [await names.key(grantedBy.key), await names.party(holder)] as const,
      ),
    );
    context.terminal.result(
      { licences },
      licences.length === 0
        ? 'No licences yet.'
        : formatTable(
            ['licence', 'design', 'objects', 'permitted', 'granted by', 'holder', 'materials', 'status'],
            licences.map((view, i) => [
              view.licence,
              view.design,
              String(view.objects),
              String(view.permitted),
              ...(who[i] ?? [view.grantedBy.key, view.holder]),
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
    const names = createNames(session);
    const rehearsals = (await session.api.rehearsals()).filter((each) => each.licence === view.licence);
    const { grantedBy, statedBy, holder } = view;
    const [granter, teller] = [await names.key(grantedBy.key), statedBy && (await names.key(statedBy.key))];
    context.terminal.result(
      { ...view, rehearsals },
      [
        `Licence ${view.licence}: ${statusOf(view)}`,
        formatFields(
          [
            ['design', view.design],
            ['objects', `${view.objects}${creditsOf(view)}, ${view.permitted} of them permitted`],
            ['machines', view.machines.map((machine) => machineName(session, machine)).join(', ') || undefined],
            [
              'groups and sites',
              (await Promise.all(view.groups.map((group) => groupText(names, group)))).join('; ') || undefined,
            ],
            ['materials', view.materials.join(', ') || 'any'],
            ['granted by', granter],
            ['last statement by', teller],
            ['holder', await names.party(holder)],
            ['valid', `${day(view.notBefore)} to ${day(view.notAfter)}`],
            ['the holder sees', view.disclose.join(', ') || 'no live figures'],
            ['transfer', transferText(view.transfer)],
            ['price', priceText(view.price)],
            ['credited by itself', creditText(view.creditPolicy)],
            ['approvals', approvalsText(session, view)],
            ...rehearsals.map((each) => rehearsalField(session, each)),
          ],
          '  ',
        ),
      ].join('\n'),
    );
  });
}

const rehearsalField = (session: Session, each: RehearsalView) =>
  ['rehearsed', `${machineName(session, each.machine)}: ${rehearsalText(each)}`] as const;

async function groupText(
  names: Names,
  { group, kind = 'group', name = group, organisation, machines, kinds }: LicenceView['groups'][number],
): Promise<string> {
  const which = machines === 'named' ? 'named machines' : `any machine${kinds ? ` of kind ${kinds.join(', ')}` : ''}`;
  return `${kind} ${name} of ${await names.party(organisation)}, ${which}`;
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

const creditsOf = ({ credits }: LicenceView): string =>
  credits.length === 0 ? '' : ` and ${credits.length} for credited ones`;

export async function licenceNamed(session: Session, licence: string): Promise<LicenceView> {
  return pick('licence', licence, await session.api.licences(), (each) => [each.licence]);
}

function statusOf({ status, suspended }: LicenceView): string {
  if (status !== 'revoked' && suspended !== undefined) return `suspended by a restore, at most ${suspended.most} left`;
  return status;
}
