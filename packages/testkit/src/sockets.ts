import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

export interface ListeningSocket {
  readonly protocol: 'tcp' | 'tcp6' | 'udp' | 'udp6' | 'unix';
  readonly address: string;
}

const TCP_LISTEN = '0A';
const UNIX_ACCEPTING = 0x10000;

/**
 * Sockets on which a process can be reached, according to Linux: TCP in LISTEN, every UDP socket without a peer, and
 * listening unix sockets.
 */
export function listeningSockets(pid: number): ListeningSocket[] {
  const own = inodesOf(pid);
  const found: ListeningSocket[] = [];
  for (const protocol of ['tcp', 'tcp6', 'udp', 'udp6'] as const) {
    for (const [, local = '', remote = '', state = '', , , , , , inode = ''] of table(pid, protocol)) {
      if (!own.has(inode)) continue;
      const open = protocol.startsWith('tcp') ? state === TCP_LISTEN : /^0+:0+$/.test(remote);
      if (open) found.push({ protocol, address: addressOf(local) });
    }
  }
  for (const [, , , flags = '0', , , inode = '', ...path] of table(pid, 'unix')) {
    if (own.has(inode) && (Number.parseInt(flags, 16) & UNIX_ACCEPTING) !== 0)
      found.push({ protocol: 'unix', address: path.join(' ') });
  }
  return found;
}

/** Number of sockets of any kind. Shows that /proc lists the process's sockets at all. */
export function socketCount(pid: number): number {
  return inodesOf(pid).size;
}

function inodesOf(pid: number): Set<string> {
  const inodes = new Set<string>();
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    try {
      const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1];
      if (inode !== undefined) inodes.add(inode);
    } catch {
      // closed during the listing
    }
  }
  return inodes;
}

function table(pid: number, name: string): string[][] {
  const [, ...lines] = readFileSync(`/proc/${pid}/net/${name}`, 'utf8').trim().split('\n');
  return lines.map((line) => line.trim().split(/\s+/));
}

/** "0100007F:1DB1" → "127.0.0.1:7601". IPv6 addresses stay in the kernel's notation. */
function addressOf(local: string): string {
  const [host = '', port = ''] = local.split(':');
  const shown =
    host.length === 8
      ? (host.match(/../g) ?? [])
          .reverse()
          .map((byte) => Number.parseInt(byte, 16))
          .join('.')
      : host;
  return `${shown}:${Number.parseInt(port, 16)}`;
}
