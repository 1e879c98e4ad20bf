import { tmpdir } from 'node:os';
import { systemClock, systemRandom } from '@millrace/base';
import type { Io } from '@millrace/cli/parts';
import { run } from '@millrace/cli/parts';

export { codeOf, temporaryFolder, testInstallation } from '../client/helpers.ts';

export interface CliResult {
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command line in this process and collects its output. */
export async function cli(argv: readonly string[], changes: Partial<Io> = {}): Promise<CliResult> {
  let stdout = '';
  let stderr = '';
  const exit = await run(argv, {
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
    clock: systemClock,
    random: systemRandom,
    cwd: tmpdir(),
    env: {},
    entries: { node: '/nowhere', machine: '/nowhere' },
    sample: '/nowhere',
    profile: '/nowhere',
    signal: new AbortController().signal,
    onSecondInterrupt: () => undefined,
    ...changes,
  });
  return { exit, stdout, stderr };
}

/** Waits until `condition` holds. The test's own time limit applies. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 20));
}
