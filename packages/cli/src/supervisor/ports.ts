import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';
import { MillraceError } from '@millrace/base';
import { hasSystemCode } from '@millrace/client/node';
import type { Address, Addresses } from '@millrace/protocol';

const HOST = '127.0.0.1';
const FIRST_PORT = 10_000;
const END_PORT = 32_768;
const ATTEMPTS = 100;
export const defaultPorts = { control: 7601, distribution: 7602, ledger: 7603, console: 7604, browsers: 7605 } as const;

export interface PreferredPorts {
  /** A port requested by the user. If it is taken, that is an error. */
  readonly control?: number | undefined;
  readonly distribution?: number | undefined;
  readonly ledger?: number | undefined;
  readonly console?: number | undefined;
  readonly browsers?: number | undefined;
  readonly host?: string | undefined;
}

/**
 * Chooses the addresses of the passive nodes, of the public ledger, of the console, and of distribution's listener for
 * browsers: the default ports, or free ones if those are taken.
 * @throws {MillraceError} E_CONFLICT if a port that the user requested is taken, or no port is free
 */
export async function chooseAddresses(
  preferred: PreferredPorts = {},
  defaults: {
    readonly control: number | undefined;
    readonly distribution: number | undefined;
    readonly ledger?: number | undefined;
    readonly console?: number | undefined;
    readonly browsers?: number | undefined;
  } = defaultPorts,
): Promise<Required<Addresses>> {
  const host = preferred.host ?? HOST;
  const control = await choose(host, preferred.control, defaults.control, []);
  const distribution = await choose(host, preferred.distribution, defaults.distribution, [control.port]);
  const ledger = await choose(host, preferred.ledger, defaults.ledger, [control.port, distribution.port]);
  const others = [control.port, distribution.port, ledger.port];
  const pages = await choose(host, preferred.console, defaults.console, others);
  const browsers = await choose(host, preferred.browsers, defaults.browsers, [...others, pages.port]);
  return { control, distribution, ledger, console: pages, browsers };
}

/** Returns false if another program has taken one of them in the meantime. */
export async function areFree(addresses: Addresses): Promise<boolean> {
  for (const address of Object.values(addresses))
    if (address !== undefined && !(await isFree(address.host, address.port))) return false;
  return true;
}

async function choose(
  host: string,
  preferredPort: number | undefined,
  usual: number | undefined,
  taken: readonly number[],
): Promise<Address> {
  if (preferredPort !== undefined) {
    if (taken.includes(preferredPort) || !(await isFree(host, preferredPort)))
      throw new MillraceError('E_CONFLICT', `port ${preferredPort} is taken`);
    return { host, port: preferredPort };
  }
  if (usual !== undefined && !taken.includes(usual) && (await isFree(host, usual))) return { host, port: usual };
  for (;;) {
    const port = await freePort(host);
    if (!taken.includes(port)) return { host, port };
  }
}

async function isFree(host: string, port: number): Promise<boolean> {
  try {
    await listenOnce(host, port);
    return true;
  } catch (error) {
    if (hasSystemCode(error, 'EADDRINUSE', 'EACCES')) return false;
    throw new MillraceError('E_CONFIG', `cannot listen on ${host}:${port}`, { cause: error });
  }
}

/** A free port that no outgoing connection takes: operating systems give those ports from 32768, or 49152 (RFC 6335). */
async function freePort(host: string): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const port = randomInt(FIRST_PORT, END_PORT);
    if (await isFree(host, port)) return port;
  }
  throw new MillraceError('E_CONFLICT', `no free port from ${FIRST_PORT} to ${END_PORT - 1}`);
}

/** Listens and closes. */
function listenOnce(host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve()));
  });
}
