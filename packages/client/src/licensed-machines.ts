import type { GroupView, MachineView } from '@millrace/api';
import { type Bytes, fromBase64, MillraceError } from '@millrace/base';
import {
  type GroupKind,
  type LicensedGroup,
  type Machine,
  type MemberPolicy,
  recognisedCloud,
  registrationHash,
  sealDesignSecret,
  sealEnvelopeKey,
  type TransactionOf,
  verifyMachineRegistration,
} from '@millrace/protocol';
import { groupNamed, requireHeldBy, signedGroup } from './groups.ts';
import type { Session } from './session.ts';

/** The machines and groups of a grant or an extension. */
export type LicensedWhere = Pick<TransactionOf<'licence.extend'>, 'machines' | 'groups'>;
type LicensedMachine = LicensedWhere['machines'][number];

/** What an owner seals to each machine of a licence. */
export interface MachineSecrets {
  /** Absent if machines get it otherwise. */
  readonly secret?: Bytes | undefined;
  /** Key of the design's envelope, if machines do not get the secret; absent if the design cannot be rehearsed. */
  readonly envelopeKey?: Bytes | undefined;
}

/** Where the objects of a licence may be made. */
export interface WhereTerms {
  /** Names, serial numbers or identifiers of machines. */
  readonly machines?: readonly string[] | undefined;
  /** Names or identifiers of groups and of sites. */
  readonly groups?: readonly string[] | undefined;
  readonly sites?: readonly string[] | undefined;
  /** `named`: the present members (default). `any`: every member, also those that the organisation adds later. */
  readonly members?: MemberPolicy | undefined;
  /** Limits `any` to these kinds of machines. */
  readonly kinds?: readonly string[] | undefined;
}

/**
 * Machines and groups as a grant or an extension names them: each machine with its registration's hash, and the design
 * secret sealed to it. A machine that is named and a member of a group is named alone; a member of several
 * groups is named with all of them.
 * @throws {MillraceError} E_NOT_FOUND; E_INPUT (no machine; `any` for a design whose owner keeps its secret); E_SIGNATURE
 *   or E_AUTH for a machine that the administrator did not register; E_LICENCE_INVALID for a member that the organisation
 *   of the group does not hold
 */
export async function licensedMachines(
  session: Session,
  where: WhereTerms,
  { licence, design, secret, envelopeKey }: { readonly licence: string; readonly design: string } & MachineSecrets,
): Promise<LicensedWhere> {
  const { members = 'named', kinds } = where;
  if (kinds !== undefined && members !== 'any') throw new MillraceError('E_INPUT', 'kinds limit any members only');
  if (secret !== undefined && members === 'any')
    throw new MillraceError(
      'E_INPUT',
      'you keep the secret of this design, so machines that join the group later could not open it: extend the licence to them when they have joined, or add the design with custody keys',
    );
  const binding = { installation: session.directory.installation, licence, design };
  const machines = new Map<string, LicensedMachine>();
  const name = async ({ cloud, ...machine }: NamedMachine, group?: string): Promise<void> => {
    const known = machines.get(machine.machine);
    if (known !== undefined) {
      if (known.groups !== undefined && group !== undefined)
        machines.set(machine.machine, { ...known, groups: [...known.groups, group] });
      return;
    }
    const entry = {
      machine: machine.machine,
      registration: registrationHash(machine),
      ...(cloud === undefined ? {} : { cloud }),
      ...(group === undefined ? {} : { groups: [group] }),
    };
    machines.set(machine.machine, {
      ...entry,
      ...(secret && { secret: await sealDesignSecret(machine, binding, secret) }),
      ...(envelopeKey && { envelopeKey: await sealEnvelopeKey(machine, binding, envelopeKey) }),
    });
  };
  for (const machine of await namedMachines(session, where.machines ?? [])) await name(machine);
  const groups = new Map<string, LicensedGroup>();
  for (const view of await namedGroups(session, where)) {
    const { group, organisation, machines: listed } = await signedGroup(session, view);
    const policy = kinds === undefined ? { machines: members } : { machines: members, kinds: [...kinds] };
    groups.set(group, { organisation, group, ...policy });
    if (members === 'any') continue;
    for (const machine of await namedMachines(session, listed, organisation)) await name(machine, group);
  }
  if (machines.size === 0 && members !== 'any') throw new MillraceError('E_INPUT', 'there is no machine to license');
  return { machines: [...machines.values()], ...(groups.size > 0 && { groups: [...groups.values()] }) };
}

async function namedGroups(session: Session, { groups = [], sites = [] }: WhereTerms): Promise<GroupView[]> {
  const found: GroupView[] = [];
  const named = { group: groups, site: sites } satisfies Record<GroupKind, readonly string[]>;
  for (const kind of ['group', 'site'] as const)
    for (const name of named[kind]) found.push(await groupNamed(session, name, kind));
  return found;
}

/** A machine and its cloud, if it is another one. */
type NamedMachine = Machine & { readonly cloud?: string };

/**
 * Resolves the names of machines. The owner's copy of a registration is preferred to the node's, which is accepted only
 * with the administrator's signature.
 * @param organisation that has to hold the machines
 */
export async function namedMachines(
  session: Session,
  names: readonly string[],
  organisation?: string,
): Promise<NamedMachine[]> {
  const { machines: known } = session.contacts;
  let listed: readonly MachineView[] | undefined;
  const found = new Map<string, NamedMachine>();
  for (const name of names) {
    const own = known.find((entry) => [entry.name, entry.machine, entry.serial].includes(name));
    if (own !== undefined && organisation === undefined) {
      const machine = own.registration();
      found.set(machine.machine, machine);
      continue;
    }
    listed ??= await session.api.machines();
    const view = listed.find((machine) => machine.machine === name || machine.serial === name);
    if (view === undefined) throw new MillraceError('E_NOT_FOUND', `there is no machine ${name}`);
    const { cloud } = view;
    const registrar = cloud === undefined ? session.directory : recognisedCloud(session.directory, cloud);
    const machine = await verifyMachineRegistration(fromBase64(view.document), registrar);
    if (machine.machine !== view.machine)
      throw new MillraceError('E_MACHINE_UNKNOWN', `control shows the registration of another machine than ${name}`);
    if (organisation !== undefined)
      await requireHeldBy(session, view, { organisation, registration: registrationHash(machine) });
    found.set(machine.machine, cloud === undefined ? machine : { ...machine, cloud });
  }
  return [...found.values()];
}
