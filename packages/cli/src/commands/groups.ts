import { MillraceError } from '@millrace/base';
import {
  assignMachine,
  changeGroup,
  createGroup,
  createNames,
  type GroupView,
  groupNamed,
  type MachineView,
  signedGroup,
} from '@millrace/client';
import type { GroupKind } from '@millrace/protocol';
import { formatFields, formatTable } from '../output/format.ts';
import { type Context, withSession } from './context.ts';
import { machinesNamed } from './machine-names.ts';
import { organisationOf } from './people.ts';

export interface CreateOptions {
  readonly machine?: readonly string[];
  readonly address?: string;
}

export function create(context: Context, kind: GroupKind, name: string, options: CreateOptions): Promise<void> {
  return withSession(context, 'operator', async (session) => {
    const { organisation } = await organisationOf(session, undefined);
    const machines = await machinesNamed(session, options.machine ?? []);
    const { address } = options;
    const stated = { organisation, kind, name, machines: machines.map(({ machine }) => machine) };
    const group = await createGroup(session, { ...stated, ...(address === undefined ? {} : { address }) });
    context.terminal.result({ group, ...stated, address }, `The ${kind} ${name} is ${group}. ${members(machines)}`);
  });
}

export function change(
  context: Context,
  kind: GroupKind,
  how: 'add' | 'remove',
  [name = '', ...wanted]: readonly string[],
): Promise<void> {
  return withSession(context, 'operator', async (session) => {
    const view = await groupNamed(session, name, kind);
    const machines = (await machinesNamed(session, wanted)).map(({ machine }) => machine);
    await changeGroup(session, view, how === 'add' ? { add: machines } : { remove: machines });
    const after = await groupNamed(session, view.group, kind);
    context.terminal.result(
      { group: after.group, machines: after.machines },
      `The ${kind} ${after.name}: ${members(await machinesNamed(session, after.machines))}`,
    );
  });
}

export function list(context: Context, kind: GroupKind): Promise<void> {
  return withSession(context, 'operator', async (session) => {
    const views = (await session.api.groups()).filter((view) => view.kind === kind);
    for (const view of views) await signedGroup(session, view);
    const names = createNames(session);
    const who = await Promise.all(views.map(({ statedBy }) => names.key(statedBy.key)));
    context.terminal.result(
      { groups: views },
      views.length === 0
        ? `No ${kind}s yet.`
        : formatTable(
            [kind, 'name', 'organisation', 'machines', 'stated by'],
            views.map((view, i) => [
              view.group,
              view.name,
              view.organisationName,
              String(view.machines.length),
              who[i] ?? view.statedBy.key,
            ]),
          ),
    );
  });
}

export function show(context: Context, kind: GroupKind, name: string): Promise<void> {
  return withSession(context, 'operator', async (session) => {
    const view: GroupView = await groupNamed(session, name, kind);
    const { number, machines, address } = await signedGroup(session, view);
    const known = await machinesNamed(session, machines);
    context.terminal.result(
      { ...view, machines: known },
      [
        `The ${kind} ${view.name} of ${view.organisationName}`,
        formatFields(
          [
            [kind, view.group],
            ['address', address],
            ['stated by', await createNames(session).key(view.statedBy.key)],
            ['on', new Date(Math.min(number, 8.64e15)).toISOString()],
          ],
          '  ',
        ),
        known.length === 0
          ? 'It has no machines.'
          : formatTable(
              ['machine', 'serial', 'kind', 'online'],
              known.map((each) => [each.machine, each.serial, each.kind, each.online ? 'yes' : 'no']),
            ),
      ].join('\n'),
    );
  });
}

/** States which organisation holds a machine. */
export function assign(context: Context, name: string, options: { readonly org?: string }): Promise<void> {
  return withSession(context, 'admin', async (session) => {
    const [view] = await machinesNamed(session, [name]);
    if (view === undefined) throw new MillraceError('E_NOT_FOUND', `there is no machine ${name}`);
    const holder = options.org === undefined ? undefined : await organisationOf(session, options.org);
    await assignMachine(session, view, holder?.organisation);
    const { machine, serial } = view;
    context.terminal.result(
      { machine, organisation: holder?.organisation },
      holder === undefined
        ? `No organisation holds machine ${serial} now: it begins no object as a member of a group.`
        : `${holder.name} holds machine ${serial}, and can put it into its groups and sites.`,
    );
  });
}

const members = (machines: readonly MachineView[]): string =>
  machines.length === 0 ? 'It has no machines.' : `Machines: ${machines.map(({ serial }) => serial).join(', ')}.`;
