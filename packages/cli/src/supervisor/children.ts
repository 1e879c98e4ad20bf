import { access } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { MillraceError } from '@millrace/base';
import type { Address, Addresses, NodeRole } from '@millrace/protocol';
import type { Layout } from '../installation/layout.ts';
import type { ProcessSpec } from './managed-process.ts';

/** The programs that a supervisor starts. Tests provide others. */
export interface Entries {
  readonly node: string;
  readonly machine: string;
}

// The same paths from src and from dist: the compiled programs of the adjacent packages.
export const builtEntries: Entries = {
  node: fileURLToPath(new URL('../../../cloud/dist/program/main.js', import.meta.url)),
  machine: fileURLToPath(new URL('../../../machine/dist/program/main.js', import.meta.url)),
};

/** @throws {MillraceError} E_CONFIG if a program is not built */
export async function requireEntries(entries: Entries): Promise<void> {
  for (const entry of Object.values(entries)) {
    try {
      await access(entry);
    } catch (cause) {
      throw new MillraceError('E_CONFIG', `${entry} is missing: build with \`npm run build\``, { cause });
    }
  }
}

export function nodeProcess(entries: Entries, layout: Layout, role: NodeRole, addresses: Addresses): ProcessSpec {
  const { control, distribution, ledger, console: pages, browsers } = addresses;
  const args = ['--folder', layout.node(role), '--control', format(control), '--distribution', format(distribution)];
  if (role === 'control' && ledger !== undefined) args.push('--ledger', format(ledger));
  const served = role === 'control' || role === 'distribution';
  if (served && pages !== undefined) args.push('--console', format(pages));
  if (served && browsers !== undefined) args.push('--browsers', format(browsers));
  return { name: role, entry: entries.node, args, ...nodeOptions };
}

/**
 * Node options for an agent, which holds its tables and little else. By default Node lets each half of the heap's young
 * generation grow to 16 MB, which short-lived messages fill, and starts four threads to collect them.
 */
const smallNode = ['--max-semi-space-size=1', '--optimize-for-size', '--v8-pool-size=1'];
const NODE_YOUNG_HALF_MB = 4;
/**
 * glibc keeps freed memory per thread, and also large blocks once they have been freed. With these settings the threads
 * share memory where possible, and buffers of this size are returned to the system immediately: an agent that had
 * printed three objects at order 24 needed 219 MB instead of 242.
 */
const MALLOC = { MALLOC_ARENA_MAX: '2', MALLOC_MMAP_THRESHOLD_: '262144', MALLOC_TRIM_THRESHOLD_: '1048576' };

/** Options of Node and environment for the process of a node. */
export const nodeOptions = { node: [`--max-semi-space-size=${NODE_YOUNG_HALF_MB}`], env: MALLOC } as const;

export function machineProcess(entries: Entries, layout: Layout, name: string, addresses: Addresses): ProcessSpec {
  const args = ['--folder', layout.machine(name), '--distribution', format(addresses.distribution)];
  return { name, entry: entries.machine, args, node: smallNode, env: MALLOC };
}

/** HOST:PORT, with IPv6 hosts in brackets. */
export function format({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
