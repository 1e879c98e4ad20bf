import { readFile, stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { fileExists, MillraceError, systemClock, systemRandom, wipe, writeDurably } from '@millrace/base';
import { parseHostPort } from '@millrace/protocol';
import { type Block, blockIn } from './address.ts';
import { checkTunnel, type Expected, hostIn, type Side } from './check.ts';
import { type Tunnel, writeTunnel } from './configuration.ts';
import { createKeyFile, othersMayRead, publicKeyIn, publicText, readKeyFile } from './keys.ts';
import { checkRunning } from './running.ts';

export const wireGuardUsage = `usage: millrace-agent wireguard key FILE
       millrace-agent wireguard site --key FILE --address ADDRESS --cloud-key KEY --cloud-address ADDRESS[,...]
                                     --endpoint HOST:PORT --to FILE.conf [--all-traffic]
       millrace-agent wireguard cloud --key FILE --address ADDRESS --port PORT --site KEY=ADDRESS[,...] ... --to FILE.conf
       millrace-agent wireguard check FILE.conf [--side site|cloud] [--cloud-address ADDRESS[,...]] [--all-traffic]
                                     [--running]

  key    makes a key in a new file that only its owner may read, and prints the public key
  site   writes the configuration of a site for wg-quick: to the cloud’s addresses only
  cloud  writes the configuration of the cloud’s side, with one peer for each site
  check  checks a configuration, and with --running the interface that wg-quick has made of it`;

const KEEPALIVE_S = 25;

const wrong = (why: string) => new MillraceError('E_INPUT', `${why}\n${wireGuardUsage}`);

type Values = Partial<
  Record<'key' | 'address' | 'cloud-key' | 'cloud-address' | 'endpoint' | 'port' | 'to' | 'side', string>
> & { readonly site?: string[]; readonly 'all-traffic'?: boolean; readonly running?: boolean };

/**
 * `millrace-agent wireguard`: keys and configurations of a tunnel between a site and its cloud.
 * @returns what is written to standard output
 * @throws {MillraceError} E_INPUT, E_CONFIG (the configuration has findings), E_CONFLICT, E_UNAVAILABLE
 */
export async function wireGuard(args: readonly string[]): Promise<string> {
  const { values, positionals } = read(args);
  const [action, file] = positionals;
  if (positionals.length > 2) throw wrong('too many arguments');
  switch (action) {
    case 'key':
      if (file === undefined) throw wrong('key needs a file');
      return `${publicText(await createKeyFile(resolve(file), systemRandom))}\n`;
    case 'site':
      return write(values, 'site', siteTunnel(values));
    case 'cloud':
      return write(values, 'cloud', cloudTunnel(values));
    case 'check':
      if (file === undefined) throw wrong('check needs a file');
      return check(resolve(file), values);
    default:
      throw wrong('key, site, cloud or check');
  }
}

function read(args: readonly string[]): { values: Values; positionals: string[] } {
  const text = { type: 'string' } as const;
  const texts = { type: 'string', multiple: true } as const;
  const yes = { type: 'boolean' } as const;
  const options = {
    ...{ key: text, address: text, 'cloud-key': text, 'cloud-address': text, endpoint: text, port: text, to: text },
    ...{ side: text, site: texts, 'all-traffic': yes, running: yes },
  } as const;
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true });
  } catch (cause) {
    throw new MillraceError('E_INPUT', wireGuardUsage, { cause });
  }
}

function required(values: Values, name: 'key' | 'address' | 'cloud-key' | 'cloud-address' | 'endpoint' | 'to'): string {
  const value = values[name];
  if (value === undefined) throw wrong(`--${name} is missing`);
  return value;
}

function siteTunnel(values: Values): Tunnel {
  const endpoint = parseHostPort(required(values, 'endpoint'));
  if (endpoint === undefined) throw wrong('--endpoint: not an address (HOST:PORT)');
  const allowed = values['all-traffic'] ? ['0.0.0.0/0', '::/0'] : list(required(values, 'cloud-address'));
  const publicKey = publicKeyIn(required(values, 'cloud-key'), '--cloud-key');
  return { addresses: ownAddresses(values), peers: [{ publicKey, allowed, endpoint, keepalive: KEEPALIVE_S }] };
}

function cloudTunnel(values: Values): Tunnel {
  const { port = '', site = [] } = values;
  const peers = site.map((text) => {
    const match = /^([^=]+=)=(.+)$/.exec(text);
    if (match === null) throw wrong('--site: expected KEY=ADDRESS');
    return { publicKey: publicKeyIn(match[1] ?? '', '--site'), allowed: list(match[2] ?? '') };
  });
  return { addresses: ownAddresses(values), listenPort: Number(port), peers };
}

function ownAddresses(values: Values): string[] {
  const addresses = list(required(values, 'address'));
  if (addresses.some((address) => hostIn(address) === undefined)) throw wrong('--address: not an address');
  return addresses;
}

const list = (text: string): string[] => text.split(',').map((part) => part.trim());

/** Writes only what passes its own check. */
async function write(values: Values, side: Side, tunnel: Tunnel): Promise<string> {
  const to = resolve(required(values, 'to'));
  requireInterfaceName(to);
  if (await fileExists(to)) throw new MillraceError('E_CONFLICT', `${to} exists: remove it first`);
  const key = await readKeyFile(resolve(required(values, 'key')));
  const file = writeTunnel(key, tunnel);
  wipe(key);
  try {
    const { findings, publicKey } = checkTunnel(file, expectedOf(values, side));
    if (findings.length > 0) throw new MillraceError('E_INPUT', findings.join('; '));
    await writeDurably(to, file);
    const other = side === 'site' ? 'the cloud' : 'each site';
    return `${to} is written. The public key of this side, for ${other}: ${publicKey}\n`;
  } finally {
    wipe(file);
  }
}

function expectedOf(values: Values, side: Side): Expected {
  const { 'cloud-address': cloud, 'all-traffic': allTraffic } = values;
  return { side, cloud: side === 'site' && cloud !== undefined ? list(cloud).map(blockOf) : undefined, allTraffic };
}

function blockOf(text: string): Block {
  const block = blockIn(text);
  if (block === undefined || block.prefix === 0) throw wrong(`--cloud-address: ${text} is no block of addresses`);
  return block;
}

async function check(path: string, values: Values): Promise<string> {
  const { side = 'site', running = false } = values;
  if (side !== 'site' && side !== 'cloud') throw wrong('--side: site or cloud');
  const file = await readFile(path).catch((cause: unknown) => {
    throw new MillraceError('E_CONFIG', `cannot read ${path}`, { cause });
  });
  try {
    const checked = checkTunnel(file, expectedOf(values, side));
    const findings = [...checked.findings];
    if (othersMayRead((await stat(path)).mode)) findings.push(`others may read the file: run chmod 600 ${path}`);
    const lines: string[] = [];
    if (running) {
      const seen = await checkRunning(requireInterfaceName(path), checked, systemClock.now());
      findings.push(...seen.findings);
      lines.push(...seen.said);
    }
    if (findings.length > 0) throw new MillraceError('E_CONFIG', `${path}:\n${findings.join('\n')}`);
    return `${[`${path} is a tunnel of a ${side} with ${checked.peers.length} peers.`, ...lines].join('\n')}\n`;
  } finally {
    wipe(file);
  }
}

/** wg-quick names the interface after the file. @throws {MillraceError} E_INPUT */
function requireInterfaceName(path: string): string {
  const name = /^([A-Za-z0-9_=+.-]{1,15})\.conf$/.exec(basename(path))?.[1];
  if (name === undefined)
    throw new MillraceError('E_INPUT', `${basename(path)}: expected NAME.conf with at most 15 letters and digits`);
  return name;
}
