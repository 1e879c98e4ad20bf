import { access } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { MillraceError } from '@millrace/base';
import type { Address, Addresses, NodeRole } from '@millrace/protocol';
import type { Layout } from '../installation/layout.ts';
import type { ProcessSpec } from './managed-process.ts';

/** The programs that a supervisor starts; a test gives others. */
export interface Entries {
  readonly node: string;
  readonly machine: string;
}

// The same from src and from dist: the neighbour packages' built programs.
export const builtEntries: Entries = {
  node: fileURLToPath(new URL('../../../cloud/dist/main.js', import.meta.url)),
  machine: fileURLToPath(new URL('../../../machine/dist/main.js', import.meta.url)),
};

/** @throws {MillraceError} E_CONFIG when a program was not built. */
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
  const { control, distribution, ledger } = addresses;
  const args = ['--folder', layout.node(role), '--control', format(control), '--distribution', format(distribution)];
  if (role === 'control' && ledger !== undefined) args.push('--ledger', format(ledger));
  const node = [`--max-semi-space-size=${NODE_YOUNG_HALF_MB}`];
  return { name: role, entry: entries.node, args, node, env: MALLOC };
}

/**
 * An agent has its tables to hold, and little else. Node lets each half of the heap's young generation grow to 16 MB, which
 * messages that are soon forgotten fill, and starts four threads to collect them.
 */
const smallNode = ['--max-semi-space-size=1', '--optimize-for-size', '--v8-pool-size=1'];
const NODE_YOUNG_HALF_MB = 4;
/**
 * The C library of Linux keeps freed memory by thread, and what is large as well once it has been freed. With these a
 * process's threads share what they can, and buffers of this size go back to the system at once: an agent that has printed
 * three objects at order 24 has needed 219 MB instead of 242.
 */
const MALLOC = { MALLOC_ARENA_MAX: '2', MALLOC_MMAP_THRESHOLD_: '262144', MALLOC_TRIM_THRESHOLD_: '1048576' };

export function machineProcess(entries: Entries, layout: Layout, name: string, addresses: Addresses): ProcessSpec {
  const args = ['--folder', layout.machine(name), '--distribution', format(addresses.distribution)];
  return { name, entry: entries.machine, args, node: smallNode, env: MALLOC };
}

/** HOST:PORT; IPv6 hosts in brackets. */
export function format({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
