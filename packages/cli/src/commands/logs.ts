import { MillraceError } from '@millrace/base';
import { openInstallation } from '../installation/open.ts';
import { followLogs, formatLogEntry, logNames, readLogs } from '../supervisor/read-logs.ts';
import { type Context, wholeNumber } from './context.ts';

export async function logs(
  context: Context,
  name: string | undefined,
  options: { follow?: boolean; lines: string },
): Promise<void> {
  const { terminal, stdout, signal } = context;
  if (terminal.json && options.follow === true) {
    throw new MillraceError('E_INPUT', '--json prints one document and cannot be combined with --follow');
  }
  const { layout } = await openInstallation(context.home);
  const names = name === undefined ? await logNames(layout.run.logs) : [name];
  const entries = await readLogs(layout.run.logs, names, wholeNumber(options.lines, '--lines', 0, 1_000_000));
  terminal.result({ entries }, entries.map(formatLogEntry).join('\n'));
  if (options.follow !== true) return;
  await followLogs(layout.run.logs, names, (entry) => void stdout.write(`${formatLogEntry(entry)}\n`), signal);
}
