import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { systemClock, systemRandom } from '@millrace/base';
import type { Io } from '@millrace/cli/parts';
import { run } from '@millrace/cli/parts';
import { expect } from 'vitest';

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

/** Parses exactly one JSON document. */
export function oneDocument(stdout: string): Record<string, unknown> {
  return JSON.parse(stdout) as Record<string, unknown>;
}

/** Waits until `condition` holds. The test's own time limit applies. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** Runs a command in a folder. @returns its result, as JSON. Throws what it says if it fails. */
export async function resultOf<T = Record<string, never>>(
  home: string,
  argv: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<T> {
  const { exit, stdout, stderr } = await cli([...argv, '--home', home, '--json'], { env });
  if (exit !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as T;
}

/** What a command in a folder says when it fails. Fails the test if the command succeeds. */
export async function refusalOf(
  home: string,
  argv: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const { exit, stderr } = await cli([...argv, '--home', home, '--json'], { env });
  expect(exit, stderr).not.toBe(0);
  return stderr;
}

/** Enrols a key in a person's folder with the text of an invitation. */
export async function enrolled<T = { readonly key: string }>(
  home: string,
  invitation: string,
  ...options: string[]
): Promise<T> {
  const file = `${home}.invitation`;
  await writeFile(file, invitation);
  return resultOf<T>(home, ['login', '--invitation-file', file, ...options]);
}
