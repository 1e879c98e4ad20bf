import type { Address } from './directory.ts';

/** "HOST:PORT" or "[IPv6]:PORT"; undefined for anything else. */
export function parseHostPort(text: string): Address | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  return host === undefined || port < 1 || port > 65_535 ? undefined : { host, port };
}
