import { readFile } from 'node:fs/promises';
import { MillraceError, parse } from '@millrace/base';
import { safetyPolicySchema } from '@millrace/machine';
import { writeSafetyPolicy } from '@millrace/machine/admin';
import type { Context } from './context.ts';
import { machineFolder } from './machine-folder.ts';

/** Sets the safety policy of a machine from a file, or removes it. The agent applies it from its next start on. */
export async function setSafetyPolicy(
  context: Context,
  machine: string,
  { file }: { readonly file?: string },
): Promise<void> {
  const folder = await machineFolder(context, machine);
  const policy = file === undefined ? undefined : parse(safetyPolicySchema, await readJson(context.path(file)), file);
  await writeSafetyPolicy(folder, policy);
  const what = policy === undefined ? 'has no safety policy any more' : `has the safety policy of ${file}`;
  context.terminal.result(
    { machine, policy: policy ?? null },
    `Machine ${machine} ${what}. Restart its agent to apply this.`,
  );
}

async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8'));
  } catch (cause) {
    throw new MillraceError('E_INPUT', `cannot read ${file} as JSON`, { cause });
  }
}
