import type { Command } from 'commander';
import type { Add } from './add-command.ts';

/** The command that moves the state of a node between engines (docs/cluster.md). */
export function addMigrate(program: Command, add: Add): void {
  add(
    program,
    'migrate <node>',
    'move the state of a stopped node (control, segments or keys) to Cassandra, or back (see docs/cluster.md)',
    async (context, [node = ''], options) => (await import('./commands/migrate.ts')).migrate(context, node, options),
  )
    .option('--to <place>', 'cluster or files')
    .option('--cluster <file>', 'the cluster, as `cluster` in node.json')
    .option('--cancel', 'undo a move that was interrupted before its decision');
}
