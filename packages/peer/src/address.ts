import { MillraceError } from '@millrace/base';

export interface HostPort {
  /** If undefined, listens on all interfaces. */
  readonly host: string | undefined;
  readonly port: number;
}

/** "host:port", "[::1]:port", ":port". @throws {MillraceError} E_INPUT */
export function parseAddress(text: string, option: string): HostPort {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]*)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3] ?? Number.NaN);
  if (match === null || port > 65_535) {
    throw new MillraceError('E_INPUT', `${option}: expected HOST:PORT, as in 192.168.1.20:7610 or [::1]:7610`);
  }
  return { host: match[1] ?? (match[2] === '' ? undefined : match[2]), port };
}
