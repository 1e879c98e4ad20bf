import type { TlsIdentity } from '@millrace/identity';
import { type Addresses, addressesOf, createHttpClient, type Directory, tlsTo } from '@millrace/protocol';
import type { Transports } from '../api.ts';
import { distributionTransport } from './distribution-transport.ts';

export interface ConnectOptions {
  readonly directory: Directory;
  /** Addresses of nodes that the directory does not list. */
  readonly addresses: Addresses;
  /** The current certificate to connect with. */
  readonly user: { readonly tls: TlsIdentity };
}

/** Connections to the nodes that clients call, by mutual TLS with pinned certificates. */
export function connectNodes({ directory, addresses, user }: ConnectOptions): Transports {
  const control = createHttpClient({
    addresses: () => addressesOf(directory, 'control', () => addresses.control),
    tls: tlsTo(directory, 'control', () => user.tls),
  });
  const distribution = distributionTransport(
    directory,
    () => addresses.distribution,
    () => user.tls,
  );
  return { control, distribution, turn: distribution.turn };
}
