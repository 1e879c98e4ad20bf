import { resolve } from 'node:path';
import { type Clock, MillraceError, type RandomSource } from '@millrace/base';

import { type Installation, openInstallation } from '../installation/open.ts';
import { type InstallationSession, openSession } from '../installation/session.ts';
import { openTokenSession } from '../installation/token-session.ts';
import type { TextStream } from '../output/terminal.ts';
import { createTerminal, type Terminal } from '../output/terminal.ts';
import type { Entries } from '../supervisor/children.ts';

/** Streams, environment and signals of the process. Tests provide their own. */
export interface Io {
  readonly stdout: TextStream;
  readonly stderr: TextStream;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly entries: Entries;
  /** Path of a sliced sample design that is always available. */
  readonly sample: string;
  /** Default slicing profile for models. */
  readonly profile: string;
  /** Aborted when the user interrupts the command. */
  readonly signal: AbortSignal;
  /** Sets the handler for a second Ctrl-C. */
  onSecondInterrupt(action: () => void): void;
}

/** Options that every command has. */
export interface CommonOptions {
  readonly json?: boolean | undefined;
  readonly home?: string | undefined;
  readonly user?: string | undefined;
}

/** Context of one running command. */
export interface Context extends Io {
  readonly terminal: Terminal;
  /** Folder of the installation. */
  readonly home: string;
  /** The user given with --user. */
  readonly user: string | undefined;
  path(file: string): string;
}

export function createContext(io: Io, options: CommonOptions): Context {
  const { stdout, stderr, cwd, env } = io;
  return {
    ...io,
    terminal: createTerminal({ stdout, stderr, json: options.json === true }),
    home: resolve(cwd, options.home ?? env.MILLRACE_HOME ?? '.millrace'),
    user: options.user,
    path: (file) => resolve(cwd, file),
  };
}

/** On a computer set up by `millrace login` there is only one user. */
function userOf({ user }: Context, usualUser: string, { description: { users } }: Installation): string {
  const [only, ...others] = users;
  return user ?? (only !== undefined && others.length === 0 ? only.name : usualUser);
}

/** The variable that holds an API token for commands that read. */
export const TOKEN_VARIABLE = 'MILLRACE_TOKEN';

/**
 * Runs `work` as a user of the running installation: the one given with --user, the person of the API token in the
 * environment, or the command's default.
 */
export async function withSession<T>(
  context: Context,
  usualUser: string,
  work: (session: InstallationSession) => Promise<T>,
): Promise<T> {
  const { clock, random, signal } = context;
  const installation = await openInstallation(context.home);
  const token = context.user === undefined ? context.env[TOKEN_VARIABLE] : undefined;
  const session =
    token === undefined
      ? await openSession({
          ...{ installation, clock, random, signal },
          user: userOf(context, usualUser, installation),
        })
      : await openTokenSession({ installation, token, clock, random, signal });
  try {
    return await work(session);
  } finally {
    session.close();
  }
}

/** @throws {MillraceError} E_INPUT */
export function oneOf<const T extends string>(option: string, value: string, known: readonly T[]): T {
  const found = known.find((one) => one === value);
  if (found === undefined)
    throw new MillraceError('E_INPUT', `${option}: expected one of ${known.join(', ')}; not ${value}`);
  return found;
}

/** Parses an option as a whole number. @throws {MillraceError} E_INPUT */
export function wholeNumber(text: string, option: string, least: number, most: number): number {
  const value = /^\d{1,12}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most)) {
    throw new MillraceError('E_INPUT', `${option}: expected a whole number from ${least} to ${most}`);
  }
  return value;
}
