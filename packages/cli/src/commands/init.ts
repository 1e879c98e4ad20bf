import { MillraceError } from '@millrace/base';
import { initInstallation, initWithoutNodes } from '../installation/init.ts';
import { firstOrganisations } from '../installation/people.ts';
import { commandName } from '../output/command-name.ts';
import { formatFields } from '../output/format.ts';
import { type Context, wholeNumber } from './context.ts';

export async function init(
  context: Context,
  options: { name?: string; factor?: string; people?: boolean; withoutNodes?: boolean },
): Promise<void> {
  const { terminal, home, clock, random } = context;
  if (options.withoutNodes === true) return withoutNodes(context, options);
  const { layout, directory, description } = await initInstallation({
    home,
    clock,
    random,
    firstPeople: options.people !== false,
    ...(options.name === undefined ? {} : { name: options.name }),
    ...(options.factor === undefined ? {} : { factor: wholeNumber(options.factor, '--factor', 1, 1_000_000) }),
  });
  const { installation, name, logKey } = directory;
  const users = description.users.map((user) => user.name);
  const people = description.firstPeople === true ? firstPeople() : [];
  const machines = description.machines.map((machine) => ({
    name: machine.name,
    material: machine.material,
    ...machine.registration,
  }));
  terminal.result(
    { home: layout.home, installation, name, logKey, users, people, machines },
    [
      `Created an installation in ${layout.home}`,
      formatFields(
        [
          ['installation', installation],
          ['users', users.join(', ')],
          ['machines', machines.map((machine) => `${machine.name} (${machine.serial})`).join(', ')],
          ['log key', logKey],
        ],
        '  ',
      ),
      ...people.map(
        ({ user, organisation, roles }) => `Its first start enrols ${user}: ${roles.join(', ')} of ${organisation}.`,
      ),
      `Start it with \`${commandName} up\`.`,
    ].join('\n'),
  );
}

/** The administrator's part of an installation whose nodes are on hosts of their own. */
async function withoutNodes(context: Context, options: { name?: string; factor?: string }): Promise<void> {
  const { terminal, home, clock, random } = context;
  if (options.factor !== undefined)
    throw new MillraceError('E_INPUT', '--factor: an installation without nodes has no virtual machine');
  const { layout, description } = await initWithoutNodes({
    ...{ home, clock, random },
    ...(options.name === undefined ? {} : { name: options.name }),
  });
  const { installation, adminKey } = description;
  terminal.result(
    { home: layout.home, installation, adminKey },
    [
      `Created the administrator’s part of an installation in ${layout.home}`,
      formatFields(
        [
          ['installation', installation],
          ['admin key', adminKey],
        ],
        '  ',
      ),
      `On each host: \`${commandName} node create --installation ${installation} --admin-key ${adminKey} …\`.`,
    ].join('\n'),
  );
}

function firstPeople() {
  return firstOrganisations.flatMap(({ name: organisation, people }) =>
    people.map(({ user, name, roles }) => ({ user, name, organisation, roles })),
  );
}
