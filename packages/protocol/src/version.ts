import { MillraceError } from '@millrace/base';

/**
 * Number of what the processes of an installation say to each other (docs/adr/0097-versions-side-by-side.md). One more
 * with every release that says something that the release before does not understand; 1 has not stated it.
 */
export const PROTOCOL = 2;

/** Header, in lower case, of every request and answer between processes of an installation. */
export const PROTOCOL_HEADER = 'millrace-protocol';

export const protocolHeaders: Readonly<Record<string, string>> = { [PROTOCOL_HEADER]: String(PROTOCOL) };

const UNSTATED = 1;
const NUMBER = /^[1-9]\d{0,4}$/;

/**
 * Two processes understand each other if their numbers differ by at most one.
 * @param stated the header of the other one
 * @param party what the other one is, for the error
 * @throws {MillraceError} E_VERSION, E_INPUT if it is no number
 */
export function requireNear(stated: string | readonly string[] | undefined, party: string): void {
  if (stated !== undefined && (typeof stated !== 'string' || !NUMBER.test(stated)))
    throw new MillraceError('E_INPUT', `${PROTOCOL_HEADER}: not a number of the protocol`);
  const theirs = stated === undefined ? UNSTATED : Number(stated);
  if (Math.abs(theirs - PROTOCOL) <= 1) return;
  throw new MillraceError(
    'E_VERSION',
    `${party} speaks protocol ${theirs}, this process ${PROTOCOL}: upgrade the ${theirs < PROTOCOL ? 'former' : 'latter'} first`,
    { data: { theirs, ours: PROTOCOL } },
  );
}
