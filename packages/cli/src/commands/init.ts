import { initInstallation } from '../installation/init.ts';
import { commandName } from '../output/command-name.ts';
import { formatFields } from '../output/format.ts';
import { type Context, wholeNumber } from './context.ts';

export async function init(context: Context, options: { name?: string; factor?: string }): Promise<void> {
  const { terminal, home, clock, random } = context;
  const { layout, directory, description } = await initInstallation({
    home,
    clock,
    random,
    ...(options.name === undefined ? {} : { name: options.name }),
    ...(options.factor === undefined ? {} : { factor: wholeNumber(options.factor, '--factor', 1, 1_000_000) }),
  });
  const { installation, name, logKey } = directory;
  const users = description.users.map((user) => user.name);
  const machines = description.machines.map((machine) => ({
    name: machine.name,
    material: machine.material,
    ...machine.registration,
  }));
  terminal.result(
    { home: layout.home, installation, name, logKey, users, machines },
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
      `Start it with \`${commandName} up\`.`,
    ].join('\n'),
  );
}
