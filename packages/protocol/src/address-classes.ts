import { BlockList, isIP } from 'node:net';

// Classes of addresses, for requests to addresses that somebody else has chosen: without a check they could reach
// services of the caller's own network (server-side request forgery).

/** `special`: link-local, multicast, documentation and the like (RFC 6890), and prefixes that hide an IPv4 address. */
export type AddressClass = 'public' | 'private' | 'loopback' | 'special';

/**
 * A list of ranges in CIDR notation.
 * @throws {TypeError | RangeError} if one is not a range
 */
export function addressRanges(ranges: readonly string[]): { has(address: string): boolean } {
  const list = new BlockList();
  for (const range of ranges) {
    const [address = '', bits = '', ...rest] = range.split('/');
    if (isIP(address) === 0 || !/^\d{1,3}$/.test(bits) || rest.length > 0) throw new TypeError(`not a range: ${range}`);
    list.addSubnet(address, Number(bits), isIP(address) === 6 ? 'ipv6' : 'ipv4');
  }
  return { has: (address) => isIP(address) !== 0 && list.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4') };
}

const loopback = addressRanges(['127.0.0.0/8', '::1/128']);
const privateRanges = addressRanges(['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', 'fc00::/7']);
const special = addressRanges([
  ...['0.0.0.0/8', '169.254.0.0/16', '192.0.0.0/24', '192.0.2.0/24', '198.18.0.0/15', '198.51.100.0/24'],
  ...['203.0.113.0/24', '224.0.0.0/4', '240.0.0.0/4', '2001::/32', '2001:db8::/32', '2002::/16'],
]);
const globalIPv6 = addressRanges(['2000::/3']);
/** IPv4 addresses in the notation of IPv6. */
const mapped = addressRanges(['::ffff:0:0/96']);

/** @param address an IPv4 or IPv6 address; anything else is `special` */
export function addressClass(address: string): AddressClass {
  const family = isIP(address);
  // Checked first: a list of IPv4 ranges matches mapped addresses, too.
  if (family === 0 || (family === 6 && mapped.has(address))) return 'special';
  if (loopback.has(address)) return 'loopback';
  if (privateRanges.has(address)) return 'private';
  if (special.has(address) || (family === 6 && !globalIPv6.has(address))) return 'special';
  return 'public';
}

/** The host of a URL, without the brackets of an IPv6 address. */
export function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[|\]$/g, '');
}
