import { equalBytes, wipe } from '@millrace/base';
import { parseHostPort } from '@millrace/protocol';
import { type Block, blockIn, contains, isHost } from './address.ts';
import { readSections, type Section, secretIn } from './configuration.ts';
import { keyFromText, publicKeyOf, publicText } from './keys.ts';

/** `site`: one peer, the cloud. `cloud`: a peer for each site. */
export type Side = 'site' | 'cloud';

export interface Expected {
  readonly side: Side;
  /** Of the cloud in the tunnel; only for a site. Without them, every address of the peer has to be a single one. */
  readonly cloud?: readonly Block[] | undefined;
  /** The site may send everything through the tunnel. */
  readonly allTraffic?: boolean | undefined;
}

/** What a checked configuration says. It holds no secret. */
export interface Checked {
  readonly findings: readonly string[];
  /** Public key of this side, if its private key is one. */
  readonly publicKey?: string | undefined;
  /** Public keys of the peers with their addresses. */
  readonly peers: readonly { readonly publicKey: string; readonly allowed: readonly string[] }[];
}

/**
 * Settings that a tunnel between a site and a cloud needs. PostUp and its like run as root, DNS sends the names that the
 * site looks up elsewhere, SaveConfig replaces the file: they are findings.
 */
const known = {
  Interface: ['privatekey', 'address', 'mtu', 'listenport'],
  Peer: ['publickey', 'presharedkey', 'allowedips', 'endpoint', 'persistentkeepalive'],
};
/** NAT devices forget a UDP flow after half a minute or later (RFC 4787, 4.3). */
const KEEPALIVE_MOST = 120;

/** Checks a configuration of wg-quick. @throws {MillraceError} E_CONFIG if it cannot be read */
export function checkTunnel(file: Uint8Array, expected: Expected): Checked {
  const sections = readSections(file);
  const [own, ...more] = sections.filter(({ kind }) => kind === 'Interface');
  const peers = sections.filter(({ kind }) => kind === 'Peer');
  const findings: string[] = [];
  if (own === undefined || more.length > 0) findings.push('one section [Interface] is needed');
  const publicKey = own && checkInterface(own, expected, findings);
  if (peers.length === 0 || (expected.side === 'site' && peers.length > 1))
    findings.push(expected.side === 'site' ? 'a site has one peer, its cloud' : 'the cloud has no peer');
  const seen: Block[] = [];
  const checked = peers.map((peer, at) => {
    const found: string[] = [];
    const result = checkPeer(peer, expected, publicKey, found);
    for (const block of result.blocks)
      if (seen.some((other) => contains(other, block) || contains(block, other)))
        found.push('AllowedIPs overlap those of another peer, which loses them');
    seen.push(...result.blocks);
    findings.push(...found.map((finding) => `peer ${at + 1}: ${finding}`));
    return { publicKey: result.publicKey, allowed: result.allowed };
  });
  return { findings, publicKey: publicKey && publicText(publicKey), peers: checked };
}

function checkInterface(own: Section, { side }: Expected, findings: string[]): Uint8Array | undefined {
  findings.push(...unknown(own));
  const addresses = own.values.get('address') ?? [];
  if (addresses.length === 0) findings.push('Address is missing');
  for (const address of addresses)
    if (hostIn(address) === undefined) findings.push(`Address ${address} is no address of this computer`);
  const [port] = own.values.get('listenport') ?? [];
  if (side === 'site' && port !== undefined) findings.push('ListenPort: a site needs no open port');
  if (side === 'cloud' && !isBetween(port, 1, 65_535)) findings.push('ListenPort is missing or no port');
  const key = secretIn(own.secrets.get('privatekey'));
  if (key === undefined) {
    findings.push('PrivateKey is missing or no key');
    return undefined;
  }
  try {
    return publicKeyOf(key);
  } finally {
    wipe(key);
  }
}

function checkPeer(
  peer: Section,
  { side, cloud, allTraffic = false }: Expected,
  own: Uint8Array | undefined,
  findings: string[],
) {
  findings.push(...unknown(peer));
  const [text = ''] = peer.values.get('publickey') ?? [];
  const publicKey = keyFromText(new TextEncoder().encode(text));
  if (publicKey === undefined) findings.push('PublicKey is missing or no key');
  else if (own !== undefined && equalBytes(publicKey, own)) findings.push('PublicKey is that of this side');
  const preshared = peer.secrets.get('presharedkey');
  const secret = secretIn(preshared);
  if (preshared !== undefined && secret === undefined) findings.push('PresharedKey is no key');
  wipe(secret);
  const allowed = peer.values.get('allowedips') ?? [];
  if (allowed.length === 0) findings.push('AllowedIPs is missing');
  const blocks = allowed.flatMap((one) => {
    const block = blockIn(one);
    if (block === undefined) findings.push(`AllowedIPs ${one} is no block of addresses`);
    else if (!(side === 'site' && allTraffic) && !isExpected(block, side === 'site' ? cloud : undefined))
      findings.push(
        block.prefix === 0
          ? `AllowedIPs ${one} sends everything through the tunnel`
          : `AllowedIPs ${one} is more than the ${side === 'site' ? 'cloud' : 'site'}’s own addresses`,
      );
    return block === undefined ? [] : [block];
  });
  const [endpoint] = peer.values.get('endpoint') ?? [];
  if (endpoint !== undefined && parseHostPort(endpoint) === undefined)
    findings.push('Endpoint is no address (HOST:PORT)');
  const [keepalive] = peer.values.get('persistentkeepalive') ?? [];
  if (side === 'site') {
    if (endpoint === undefined) findings.push('Endpoint is missing: the site begins the connection');
    if (!isBetween(keepalive, 1, KEEPALIVE_MOST))
      findings.push(`PersistentKeepalive must be 1 to ${KEEPALIVE_MOST} s: the site may be behind NAT`);
  } else if (keepalive !== undefined && !isBetween(keepalive, 0, 65_535)) findings.push('PersistentKeepalive is wrong');
  return { publicKey: text, allowed: [...allowed].sort(), blocks };
}

const isExpected = (block: Block, cloud: readonly Block[] | undefined): boolean =>
  cloud === undefined ? isHost(block) : cloud.some((outer) => contains(outer, block));

/** An address of an interface has the length of its network behind it: 10.7.0.2/24. */
export function hostIn(text: string): Block | undefined {
  const [host = '', length] = text.split('/');
  const block = blockIn(host);
  return block !== undefined && (length === undefined || isBetween(length, 1, block.prefix)) ? block : undefined;
}

function unknown({ kind, values, secrets }: Section): string[] {
  return [...values.keys(), ...secrets.keys()]
    .filter((name) => !known[kind].includes(name))
    .map((name) => `[${kind}] ${name}: not a setting of this tunnel`);
}

const isBetween = (text: string | undefined, least: number, most: number): boolean =>
  text !== undefined && /^\d{1,5}$/.test(text) && Number(text) >= least && Number(text) <= most;
