import type { GroupKind } from '@millrace/protocol';
import type { Command } from 'commander';
import type { Add, Group } from './add-command.ts';

/** Commands for groups of machines and sites. */
export function addGroups(group: Group, add: Add): void {
  addKind('group', 'groups of an organisation’s machines, which licences can name', group, add);
  const site = addKind('site', 'sites: where the machines of an organisation are; licences can name them', group, add);
  add(
    site,
    'report',
    'reconcile material in and out of a machine, its prints and its odometer: exit code 6 if there are findings',
    async (context, _, options) => (await import('./commands/site-report.ts')).siteReport(context, options),
  )
    .requiredOption('--machine <name>', 'the machine')
    .option('--from <date>', 'from this day on, YYYY-MM-DD in UTC')
    .option('--to <date>', 'before this day, YYYY-MM-DD in UTC')
    .option('--csv <file>', 'write spools, prints, odometer and findings to a CSV file');
}

function addKind(kind: GroupKind, description: string, group: Group, add: Add): Command {
  const commands = () => import('./commands/groups.ts');
  const parent = group(kind, description);
  const create = add(
    parent,
    'create <name>',
    `sign a new ${kind} of your organisation (owner-admin or operator)`,
    async (context, [name = ''], options) => (await commands()).create(context, kind, name, options),
  ).option('--machine <name...>', `machines of your organisation that are in the ${kind}`);
  if (kind === 'site') create.option('--address <text>', 'where it is');
  add(
    parent,
    `add <${kind}> <machine...>`,
    `sign that machines of your organisation are in the ${kind}, too`,
    async (context, args) => (await commands()).change(context, kind, 'add', args.flat()),
  );
  add(
    parent,
    `remove <${kind}> <machine...>`,
    `sign that machines are no longer in the ${kind}: licences for it no longer allow them to begin objects`,
    async (context, args) => (await commands()).change(context, kind, 'remove', args.flat()),
  );
  add(parent, 'list', `${kind}s of all organisations`, async (context) => (await commands()).list(context, kind));
  add(parent, `show <${kind}>`, `show a ${kind} and its machines`, async (context, [name = '']) =>
    (await commands()).show(context, kind, name),
  );
  return parent;
}
