import { type Bytes, concatBytes, MillraceError, utf8, wipe } from '@millrace/base';
import type { Address } from '@millrace/protocol';
import { keyFromText, keyToText, publicText } from './keys.ts';

// Configurations of wg-quick(8): sections [Interface] and [Peer] with lines `Key = value`.

export interface Peer {
  readonly publicKey: Uint8Array;
  /** Addresses behind the peer. */
  readonly allowed: readonly string[];
  readonly endpoint?: Address | undefined;
  /** Seconds between signs of life, which keep a NAT open. */
  readonly keepalive?: number | undefined;
}

export interface Tunnel {
  /** Own addresses in the tunnel. */
  readonly addresses: readonly string[];
  readonly listenPort?: number | undefined;
  readonly peers: readonly Peer[];
}

/** @param privateKey 32 bytes @returns the file; the caller wipes it */
export function writeTunnel(privateKey: Uint8Array, { addresses, listenPort, peers }: Tunnel): Bytes {
  const key = keyToText(privateKey);
  const lines = (entries: readonly (readonly [string, string | number | undefined])[]) =>
    entries.map(([name, value]) => (value === undefined ? '' : `${name} = ${value}\n`)).join('');
  const own = lines([
    ['Address', addresses.join(', ')],
    ['ListenPort', listenPort],
  ]);
  const others = peers.map(
    ({ publicKey, allowed, endpoint, keepalive }) =>
      `\n[Peer]\n${lines([
        ['PublicKey', publicText(publicKey)],
        ['AllowedIPs', allowed.join(', ')],
        ['Endpoint', endpoint && `${bracketed(endpoint.host)}:${endpoint.port}`],
        ['PersistentKeepalive', keepalive],
      ])}`,
  );
  try {
    return concatBytes(utf8('[Interface]\nPrivateKey = '), key, utf8(`\n${own}${others.join('')}`));
  } finally {
    wipe(key);
  }
}

const bracketed = (host: string): string => (host.includes(':') ? `[${host}]` : host);

/** A section as it is written. Secret values stay bytes. */
export interface Section {
  readonly kind: 'Interface' | 'Peer';
  /** Values by their names in lower case: names are not case-sensitive, and some may be repeated. */
  readonly values: ReadonlyMap<string, readonly string[]>;
  /** PrivateKey and PresharedKey: text of the key. */
  readonly secrets: ReadonlyMap<string, Uint8Array>;
}

const SECRETS = ['privatekey', 'presharedkey'];
/** Settings with several values, on one line or on several. Of all others wg-quick uses the last, whatever is before. */
const LISTS = ['address', 'allowedips', 'dns', 'preup', 'postup', 'predown', 'postdown'];

/** @param file is not copied: the secrets are parts of it @throws {MillraceError} E_CONFIG with the number of the line */
export function readSections(file: Uint8Array): Section[] {
  const sections: { kind: Section['kind']; values: Map<string, string[]>; secrets: Map<string, Uint8Array> }[] = [];
  for (const [number, line] of linesOf(file)) {
    const wrong = (why: string) => new MillraceError('E_CONFIG', `line ${number}: ${why}`);
    const header = /^\[(interface|peer)\]$/i.exec(line.name)?.[1]?.toLowerCase();
    if (header !== undefined && line.value === undefined) {
      const kind = header === 'interface' ? 'Interface' : 'Peer';
      sections.push({ kind, values: new Map(), secrets: new Map() });
      continue;
    }
    const section = sections.at(-1);
    if (section === undefined || line.value === undefined) throw wrong('neither a section nor a setting');
    const name = line.name.toLowerCase();
    if (SECRETS.includes(name)) {
      if (section.secrets.has(name)) throw wrong(`a second ${line.name}`);
      section.secrets.set(name, line.value);
    } else {
      const text = new TextDecoder().decode(line.value);
      const before = section.values.get(name);
      const isList = LISTS.includes(name);
      if (before !== undefined && !isList) throw wrong(`a second ${line.name}`);
      section.values.set(name, isList ? [...(before ?? []), ...text.split(',').map((part) => part.trim())] : [text]);
    }
  }
  return sections;
}

function* linesOf(file: Uint8Array): Generator<[number, { name: string; value: Uint8Array | undefined }]> {
  let number = 0;
  for (let from = 0; from < file.length; ) {
    number += 1;
    const newline = file.indexOf(0x0a, from);
    const end = newline < 0 ? file.length : newline;
    const whole = file.subarray(from, end);
    from = end + 1;
    const comment = whole.indexOf(0x23);
    const line = trimmed(comment < 0 ? whole : whole.subarray(0, comment));
    if (line.length === 0) continue;
    const equals = line.indexOf(0x3d);
    const name = new TextDecoder().decode(trimmed(equals < 0 ? line : line.subarray(0, equals)));
    yield [number, { name, value: equals < 0 ? undefined : trimmed(line.subarray(equals + 1)) }];
  }
}

function trimmed(bytes: Uint8Array): Uint8Array {
  const blank = (byte: number) => byte === 0x20 || byte === 0x09 || byte === 0x0d;
  const start = bytes.findIndex((byte) => !blank(byte));
  return start < 0 ? bytes.subarray(0, 0) : bytes.subarray(start, bytes.findLastIndex((byte) => !blank(byte)) + 1);
}

/** The key in the text of a secret. The caller wipes it. */
export const secretIn = (text: Uint8Array | undefined): Bytes | undefined => text && keyFromText(text);
