import type { TlsIdentity } from '@millrace/identity';
import { type Addresses, addressesOf, createHttpClient, type Directory, tlsTo } from '@millrace/protocol';
import type { Transports } from '../api.ts';

export interface ConnectOptions {
  readonly directory: Directory;
  /** Addresses of nodes that the directory does not list. */
  readonly addresses: Addresses;
  /** The current certificate to connect with. */
  readonly user: { readonly tls: TlsIdentity };
}

/** Connections to the nodes that clients call, by mutual TLS with pinned certificates. */
export function connectNodes({ directory, addresses, user }: ConnectOptions): Transports {
  const connect = (role: 'control' | 'distribution') =>
    createHttpClient({
      addresses: () => addressesOf(directory, role, () => addresses[role]),
      tls: tlsTo(directory, role, () => user.tls),
    });
  return { control: connect('control'), distribution: connect('distribution') };
}
