import { MillraceError } from '@millrace/base';

/**
 * The only item that matches an identifier, the beginning of one (at least 4 digits), or a name.
 * @throws {MillraceError} E_NOT_FOUND, E_INPUT if several match
 */
export function pick<T>(
  what: string,
  wanted: string,
  things: readonly T[],
  namesOf: (thing: T) => readonly string[],
): T {
  const exact = things.filter((thing) => namesOf(thing).includes(wanted));
  const begun =
    wanted.length >= 4 ? things.filter((thing) => namesOf(thing).some((name) => name.startsWith(wanted))) : [];
  const found = exact.length > 0 ? exact : begun;
  const [first, ...others] = found;
  if (first === undefined) throw new MillraceError('E_NOT_FOUND', `there is no ${what} ${wanted}`);
  if (others.length > 0) {
    const names = found.map((thing) => namesOf(thing)[0]).join(', ');
    throw new MillraceError('E_INPUT', `${wanted} means several (${names}): say more of it`);
  }
  return first;
}
