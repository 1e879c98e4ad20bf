import { isIP } from 'node:net';

/** A block of addresses, as WireGuard writes it: 10.7.0.1/32. */
export interface Block {
  readonly family: 4 | 6;
  readonly address: bigint;
  readonly prefix: number;
}

const bitsOf = (family: 4 | 6): number => (family === 4 ? 32 : 128);

/** A text without a prefix is one address. @returns undefined if it is no address, or has bits behind its prefix */
export function blockIn(text: string): Block | undefined {
  const [host = '', length, ...more] = text.split('/');
  const family = isIP(host);
  if (more.length > 0 || (family !== 4 && family !== 6)) return undefined;
  const bits = bitsOf(family);
  if (length !== undefined && !/^\d{1,3}$/.test(length)) return undefined;
  const prefix = length === undefined ? bits : Number(length);
  if (prefix > bits) return undefined;
  const address = family === 4 ? v4(host) : v6(host);
  if (address === undefined) return undefined;
  const hostBits = (1n << BigInt(bits - prefix)) - 1n;
  return (address & hostBits) === 0n ? { family, address, prefix } : undefined;
}

export const isHost = ({ family, prefix }: Block): boolean => prefix === bitsOf(family);

/** Whether every address of `inner` is in `outer`. */
export function contains(outer: Block, inner: Block): boolean {
  if (outer.family !== inner.family || outer.prefix > inner.prefix) return false;
  const shift = BigInt(bitsOf(outer.family) - outer.prefix);
  return outer.address >> shift === inner.address >> shift;
}

const v4 = (text: string): bigint => text.split('.').reduce((sum, part) => (sum << 8n) | BigInt(part), 0n);

/** @returns undefined for an address of an interface (fe80::1%eth0) */
function v6(text: string): bigint | undefined {
  if (text.includes('%')) return undefined;
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  const plain = dotted === null ? text : `${dotted[1]}${v4groups(dotted[2] ?? '')}`;
  const [head = '', tail] = plain.split('::');
  const groups = (part: string) => (part === '' ? [] : part.split(':'));
  const [before, after] = [groups(head), tail === undefined ? [] : groups(tail)];
  const zeros = new Array<string>(Math.max(0, 8 - before.length - after.length)).fill('0');
  return [...before, ...(tail === undefined ? [] : zeros), ...after].reduce(
    (sum, group) => (sum << 16n) | BigInt(`0x${group}`),
    0n,
  );
}

const v4groups = (text: string): string => {
  const value = v4(text);
  return `${(value >> 16n).toString(16)}:${(value & 0xffffn).toString(16)}`;
};
