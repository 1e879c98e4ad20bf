import { MillraceError } from '@millrace/base';
import { curaEngine } from './cura.ts';
import { prusaSlicer } from './prusa.ts';
import { findProgram } from './run.ts';
import type { Slicer, SlicerKind } from './slicer.ts';

const kinds: readonly SlicerKind[] = [prusaSlicer, curaEngine];

/**
 * The first installed slicer that understands the profile.
 * @param env PATH, and MILLRACE_SLICER: the program to use instead of the one in PATH
 * @throws {MillraceError} E_SLICER that states what to install
 */
export async function findSlicer(
  profile: string,
  env: Readonly<Record<string, string | undefined>>,
  signal?: AbortSignal,
): Promise<Slicer> {
  const fitting = kinds.filter(({ profiles }) => profiles.some((ending) => profile.toLowerCase().endsWith(ending)));
  if (fitting.length === 0) {
    const endings = kinds.flatMap(({ profiles }) => profiles).join(' or ');
    throw new MillraceError('E_SLICER', `${profile} is not a slicing profile: its name has to end with ${endings}`);
  }
  for (const kind of fitting) {
    const program = env.MILLRACE_SLICER ?? (await findProgram(kind.programs, env.PATH));
    if (program !== undefined) return kind.open(program, signal);
  }
  const names = fitting.flatMap(({ programs }) => programs).join(', ');
  throw new MillraceError(
    'E_SLICER',
    `no slicer is installed on this computer (looked for ${names} in PATH): install PrusaSlicer ` +
      '(Debian and Ubuntu: apt install prusa-slicer; others: prusa3d.com), or slice the model yourself and add the G-code',
  );
}
