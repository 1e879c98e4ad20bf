import type { Command } from 'commander';
import type { Add, Group } from './add-command.ts';

export function addSettings(group: Group, add: Add): void {
  const settings = group(
    'settings',
    'settings of machines at other places, signed by the organisation that holds them',
  );
  onMachines(
    add(settings, 'set', 'sign settings for machines (see docs/sites.md)', async (context, _, options) =>
      (await import('./commands/machine-settings.ts')).set(context, options),
    ).requiredOption('--file <file>', 'the settings, as JSON'),
  );
  onMachines(
    add(
      settings,
      'promote <machine>',
      'sign the settings that one machine has applied for more machines',
      async (context, [name = ''], options) =>
        (await import('./commands/machine-settings.ts')).promote(context, name, options),
    ),
  );
  add(
    settings,
    'rollback <machine>',
    'sign the settings that a machine had applied before as new ones',
    async (context, [name = '']) => (await import('./commands/machine-settings.ts')).rollback(context, name),
  );
  add(
    settings,
    'show <machine>',
    'show a machine’s newest settings, and whether the machine has applied them',
    async (context, [name = '']) => (await import('./commands/machine-settings.ts')).show(context, name),
  );
}

function onMachines(command: Command): void {
  command
    .option('--machine <name...>', 'these machines')
    .option('--group <group>', 'all members of this group')
    .option('--site <site>', 'all machines at this site');
}
