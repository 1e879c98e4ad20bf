import { type Bytes, concatBytes, MillraceError, utf8, wipe } from '@millrace/base';
import { generateP256Key, keyName, type MachineKey, type P256Key, verifySignature } from '@millrace/identity';
import { type Caller, decodeHandshake, encodeHandshake, type Responder, streamSecret } from './handshake.ts';
import { notUnderstood } from './handshake-channel.ts';

// Diffie-Hellman with two fresh points. Each end signs its point with its identity key, over all earlier messages and
// both identities (as in ISO/IEC 9798-3): mutual authentication with forward secrecy.

const POINT_BYTES = 65;
const SIGNATURE_BYTES = 64;

export interface KeyOptions {
  /** This end's identity. The caller closes it. */
  readonly key: MachineKey;
  /** The other end's key name: 32 hexadecimal digits. */
  readonly peer: string;
}

/** @throws {MillraceError} E_INPUT if the fingerprint is malformed */
export function keyCaller(options: KeyOptions): Caller {
  const { key, peer } = checked(options);
  return {
    call: async (handshake) => {
      const own = generateP256Key();
      try {
        const first = encodeHandshake('keys', concatBytes(own.publicKey, key.publicKey));
        await handshake.send(first);
        const second = await handshake.receive();
        const [theirPoint, theirKey, signature] = split(second, POINT_BYTES, POINT_BYTES, SIGNATURE_BYTES);
        const said = statement('listener', first, concatBytes(theirPoint, theirKey));
        if (keyName(theirKey) !== peer || !verifySignature('ES256', theirKey, said, signature)) throw stranger();
        const third = await key.sign(statement('caller', first, second));
        await handshake.send(third);
        return await agreed(own, theirPoint, first, second, third);
      } finally {
        own.close();
      }
    },
  };
}

/** @throws {MillraceError} E_INPUT if the fingerprint is malformed */
export function keyResponder(options: KeyOptions): Responder {
  const { key, peer } = checked(options);
  return {
    exhausted: false,
    respond: async (handshake) => {
      const first = await handshake.receive();
      const body = decodeHandshake('keys', first);
      if (body === undefined) throw new MillraceError('E_STREAM_AUTH', 'the caller uses a code, not a key');
      const [theirPoint, theirKey] = split(body, POINT_BYTES, POINT_BYTES);
      if (keyName(theirKey) !== peer) throw stranger();
      const own = generateP256Key();
      try {
        const ours = concatBytes(own.publicKey, key.publicKey);
        const second = concatBytes(ours, await key.sign(statement('listener', first, ours)));
        await handshake.send(second);
        const third = await handshake.receive();
        if (!verifySignature('ES256', theirKey, statement('caller', first, second), third)) throw stranger();
        return await agreed(own, theirPoint, first, second, third);
      } finally {
        own.close();
      }
    },
  };
}

function checked(options: KeyOptions): KeyOptions {
  const peer = options.peer.toLowerCase();
  if (!/^[0-9a-f]{32}$/.test(peer)) {
    throw new MillraceError('E_INPUT', 'a fingerprint has 32 hexadecimal digits, as `millrace peer-key` prints it');
  }
  if (peer === keyName(options.key.publicKey)) {
    throw new MillraceError('E_INPUT', 'this is the fingerprint of our own key, not of the other end');
  }
  return { key: options.key, peer };
}

function statement(who: 'caller' | 'listener', ...parts: readonly Uint8Array[]): Bytes {
  return concatBytes(utf8(`millrace/v1/peer/keys/${who}/`), ...parts);
}

function split(message: Uint8Array, ...lengths: readonly [number, number, ...number[]]): [Bytes, Bytes, Bytes] {
  const parts: Bytes[] = [];
  let at = 0;
  for (const length of lengths) {
    parts.push(new Uint8Array(message.subarray(at, at + length)));
    at += length;
  }
  if (message.length !== at) throw notUnderstood();
  const [first = new Uint8Array(), second = new Uint8Array(), third = new Uint8Array()] = parts;
  return [first, second, third];
}

async function agreed(own: P256Key, theirs: Uint8Array, ...messages: readonly Uint8Array[]): Promise<Bytes> {
  const shared = await own.agree(theirs).catch(() => {
    throw notUnderstood();
  });
  const secret = streamSecret('keys', shared, ...messages);
  wipe(shared);
  return secret;
}

function stranger(): MillraceError {
  return new MillraceError('E_STREAM_AUTH', 'the other end does not have the key with this fingerprint');
}
