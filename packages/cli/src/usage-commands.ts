import type { Command } from 'commander';
import type { Add } from './add-command.ts';

export function addUsage(program: Command, add: Add): void {
  add(
    program,
    'usage',
    'show what was used under licences that you granted or hold, and what it costs, as the ledger shows it',
    async (context, _, options) => (await import('./commands/usage.ts')).usage(context, options),
  )
    .option('--licence <id>', 'of this licence only')
    .option('--org <name>', 'of licences that this organisation granted or holds')
    .option('--from <date>', 'from this day on, YYYY-MM-DD in UTC')
    .option('--to <date>', 'before this day, YYYY-MM-DD in UTC')
    .option('--csv <file>', 'write the records to a CSV file')
    .option('--check', 'compute them from the ledger, and compare: exit code 6 if control shows something else')
    .option('--all', 'as the administrator: only the totals, of every owner');
}
