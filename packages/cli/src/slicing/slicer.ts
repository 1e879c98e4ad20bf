import { MillraceError } from '@millrace/base';
import { curaEngine } from './cura.ts';
import { prusaSlicer } from './prusa.ts';
import { findProgram } from './run.ts';

/** What a slicer is asked to do. */
export interface SliceTask {
  /** STL or 3MF. */
  readonly model: string;
  /** The profile's file. */
  readonly profile: string;
  /** Where the G-code goes. */
  readonly output: string;
  readonly signal?: AbortSignal | undefined;
  /** Percent, where the slicer says so. */
  readonly progress: (percent: number) => void;
}

/** A slicer by its command line, found on this computer. */
export interface Slicer {
  /** Name and version. */
  readonly name: string;
  readonly program: string;
  /** @throws {MillraceError} E_SLICER with the slicer's own words */
  slice(task: SliceTask): Promise<void>;
}

/** How one kind of slicer is found and asked. */
export interface SlicerKind {
  /** Names under which it is installed. */
  readonly programs: readonly string[];
  /** What the file of a profile ends with. */
  readonly profiles: readonly string[];
  open(program: string, signal?: AbortSignal): Promise<Slicer>;
}

const kinds: readonly SlicerKind[] = [prusaSlicer, curaEngine];

/**
 * The slicer that understands the profile: the first that is installed.
 * @param env PATH, and MILLRACE_SLICER: the program to take in place of what PATH has
 * @throws {MillraceError} E_SLICER saying what to install
 */
export async function findSlicer(
  profile: string,
  env: Readonly<Record<string, string | undefined>>,
  signal?: AbortSignal,
): Promise<Slicer> {
  const fitting = kinds.filter(({ profiles }) => profiles.some((ending) => profile.toLowerCase().endsWith(ending)));
  if (fitting.length === 0) {
    const endings = kinds.flatMap(({ profiles }) => profiles).join(' or ');
    throw new MillraceError('E_SLICER', `${profile} is no slicing profile: its name ends with ${endings}`);
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
