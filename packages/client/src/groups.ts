import type { GroupView, MachineView } from '@millrace/api';
import { equalBytes, fromBase64, MillraceError, toHex } from '@millrace/base';
import {
  type GroupKind,
  type GroupStatement,
  registrationHash,
  verifyAssignment,
  verifyGroup,
  verifyMachineRegistration,
} from '@millrace/protocol';
import { pick } from './pick.ts';
import type { Session } from './session.ts';
import { signNew } from './transactions.ts';

// Groups of machines and sites. An organisation signs the list of all members each time.

/** Number of the next statement after `known`, by the user's clock. */
const nextNumber = ({ clock }: Session, known = 0): number => Math.max(clock.now(), known + 1);

/**
 * States which organisation holds a machine; administrator only.
 * @param organisation undefined: none
 * @throws {MillraceError} E_FORBIDDEN, and as `verifyMachineRegistration`
 */
export async function assignMachine(session: Session, view: MachineView, organisation?: string): Promise<void> {
  const { machine, document, assigned } = view;
  const registered = await verifyMachineRegistration(fromBase64(document), session.directory);
  if (registered.machine !== machine)
    throw new MillraceError('E_MACHINE_UNKNOWN', 'control shows the registration of another machine');
  const { bytes } = await signNew(session, {
    type: 'machine.assign',
    machine,
    registration: registrationHash(registered),
    ...(organisation === undefined ? {} : { organisation }),
    number: nextNumber(session, assigned),
  });
  await session.api.submit(bytes);
}

export type NewGroup = Pick<GroupStatement, 'organisation' | 'kind' | 'name' | 'address' | 'machines'>;

/** Creates a group or site of the user's organisation. @returns its identifier */
export async function createGroup(session: Session, created: NewGroup): Promise<string> {
  const group = toHex(session.random(16));
  await setGroup(session, { ...created, group, number: nextNumber(session) });
  return group;
}

/**
 * Adds machines to a group or removes them.
 * @param change identifiers of machines
 * @throws {MillraceError} E_FORBIDDEN (no owner-admin or operator of the organisation; a machine that it does not hold),
 *   E_NOT_FOUND (removes a machine that is no member), E_STATE (changes nothing), E_CONFLICT
 */
export async function changeGroup(
  session: Session,
  view: GroupView,
  { add = [], remove = [] }: { readonly add?: readonly string[]; readonly remove?: readonly string[] },
): Promise<void> {
  const { number, machines, ...stated } = await signedGroup(session, view);
  const missing = remove.find((machine) => !machines.includes(machine));
  if (missing !== undefined) throw new MillraceError('E_NOT_FOUND', `machine ${missing} is not in ${view.name}`);
  const kept = machines.filter((machine) => !remove.includes(machine));
  const members = [...new Set([...kept, ...add])];
  if (members.length === machines.length && remove.length === 0)
    throw new MillraceError('E_STATE', `these machines are in ${view.name} already`);
  await setGroup(session, { ...stated, machines: members, number: nextNumber(session, number) });
}

async function setGroup(session: Session, stated: Omit<GroupStatement, 'type' | 'id' | 'issued' | 'expires'>) {
  await session.api.submit((await signNew(session, { type: 'group.set', ...stated })).bytes);
}

/** A group or site by identifier (or its beginning), NAME or ORGANISATION/NAME. @throws {MillraceError} E_NOT_FOUND, E_INPUT */
export async function groupNamed({ api }: Session, name: string, kind: GroupKind): Promise<GroupView> {
  const views = (await api.groups()).filter((view) => view.kind === kind);
  return pick(kind, name, views, ({ group, name: own, organisationName }) => [
    group,
    own,
    `${organisationName}/${own}`,
  ]);
}

/**
 * The statement behind a group, verified: control cannot show another group or other members.
 * @throws {MillraceError} E_CONFLICT (control shows another group), and as `verifyGroup`
 */
export async function signedGroup(
  { directory }: Pick<Session, 'directory'>,
  { group, organisation, organisationName, document, credential }: GroupView,
) {
  const statement = { transaction: fromBase64(document), credential: fromBase64(credential) };
  const { body, signatory } = await verifyGroup(statement, directory);
  const named = signatory.member?.organisationName === organisationName;
  if (body.group !== group || body.organisation !== organisation || !named)
    throw new MillraceError('E_CONFLICT', 'control shows the statement of another group', { data: { group } });
  const { kind, name, address, number, machines } = body;
  return { group, organisation, kind, name, ...(address === undefined ? {} : { address }), number, machines };
}

/**
 * Checks that a machine is held by an organisation, as it is registered.
 * @throws {MillraceError} E_LICENCE_INVALID, and as `verifyAssignment`
 */
export async function requireHeldBy(
  { directory }: Pick<Session, 'directory'>,
  { machine, assignment, serial }: MachineView,
  { organisation, registration }: { readonly organisation: string; readonly registration: Uint8Array },
): Promise<void> {
  const held = assignment === undefined ? undefined : await verifyAssignment(fromBase64(assignment), directory);
  if (held?.machine === machine && held.organisation === organisation && equalBytes(held.registration, registration))
    return;
  throw new MillraceError('E_LICENCE_INVALID', `the organisation of the group does not hold machine ${serial}`);
}
