import { type Bytes, concatBytes, equalBytes, utf8 } from '@millrace/base';
import { generateP256Key, keyName } from '@millrace/identity';
import type { LiveChannel } from '@millrace/live-matrix';
import {
  codeCaller,
  codeDigits,
  codeResponder,
  decodeHandshake,
  encodeHandshake,
  HandshakeChannel,
  keyCaller,
  keyResponder,
  MessageJoiner,
  parseAddress,
  withLength,
} from '@millrace/peer/parts';
import type { Target } from '@millrace/testkit/fuzz/target';

const fixed = (byte: number, length: number): Bytes => new Uint8Array(length).fill(byte);
const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** The messages between two computers before the stream. */
export async function peerTargets(): Promise<Target[]> {
  const joined = concatBytes(withLength(fixed(1, 40)), withLength(fixed(2, 300)));
  return [
    {
      name: 'messages over TCP',
      samples: [joined],
      cost: 'cheap',
      codes: ['E_FRAME_FORMAT'],
      decode: (input) => {
        const joiner = new MessageJoiner();
        // In chunks of growing length, the first one of one byte.
        const out: Bytes[] = [];
        for (let at = 0, size = 1; at < input.length; at += size, size = Math.min(size * 2, 9_000))
          out.push(...joiner.push(input.subarray(at, at + size)));
        return out;
      },
      accepts: (result, input) => {
        const whole = concatBytes(...(result as Bytes[]).map(withLength));
        return equalBytes(whole, input.subarray(0, whole.length));
      },
    },
    {
      name: 'handshake',
      samples: [encodeHandshake('code', fixed(1, 40)), encodeHandshake('keys', fixed(2, 130))],
      cost: 'cheap',
      codes: ['E_FRAME_FORMAT'],
      decode: (input) => decodeHandshake('code', input),
      accepts: 'any',
    },
    {
      name: 'address',
      samples: ['192.168.1.20:7610', '[::1]:7610', ':0', 'host.example:65535'].map(utf8),
      cost: 'cheap',
      codes: ['E_INPUT'],
      decode: (input) => parseAddress(textOf(input), '--to'),
      accepts: (result) => {
        const { port } = result as ReturnType<typeof parseAddress>;
        return Number.isInteger(port) && port >= 0 && port <= 65_535;
      },
    },
    {
      name: 'code',
      samples: ['471-209-8835', '4712098835'].map(utf8),
      cost: 'cheap',
      codes: ['E_INPUT'],
      decode: (input) => codeDigits(textOf(input)),
      accepts: (result) => /^\d{10}$/.test(result as string),
    },
    await firstByKeys(),
    await answerByKeys(),
    await firstByCode(),
    await answerByCode(),
  ];
}

/** The other end sends these messages in order, whatever it receives. The last one is fuzzed. */
function channelOf(...messages: readonly Uint8Array[]): { handshake: HandshakeChannel; said: Uint8Array[] } {
  const said: Uint8Array[] = [];
  const channel: LiveChannel = {
    readable: new ReadableStream({
      start(controller) {
        for (const message of messages) controller.enqueue(message);
        controller.close();
      },
    }),
    writable: new WritableStream({ write: (chunk) => void said.push(chunk) }),
  };
  return { handshake: new HandshakeChannel(channel), said };
}

const refusals = ['E_FRAME_FORMAT', 'E_STREAM_AUTH', 'E_STREAM_CUT'] as const;
/** Prepared messages cannot lead to a secret: the other end would have to sign or guess before it receives anything. */
const never = () => false;

/** Receives a valid first message from its caller, so that a sample is answered. Then the caller is gone. */
async function firstByKeys(): Promise<Target> {
  const [caller, listener] = [generateP256Key(), generateP256Key()];
  const { handshake, said } = channelOf();
  await keyCaller({ key: caller, peer: keyName(listener.publicKey) })
    .call(handshake)
    .catch(() => undefined);
  const first = new Uint8Array(said[0] ?? new Uint8Array());
  return {
    name: 'first message of a caller by keys',
    samples: [],
    make: (random) => {
      const bytes = new Uint8Array(first);
      for (let i = random.below(4); i >= 0; i--) bytes[random.below(bytes.length)] = random.u32();
      return random.below(3) === 0 ? bytes.slice(0, random.below(200)) : bytes;
    },
    cost: 'dear',
    codes: refusals,
    decode: (input) =>
      keyResponder({ key: listener, peer: keyName(caller.publicKey) }).respond(
        channelOf(input, fixed(1, 64)).handshake,
      ),
    accepts: never,
  };
}

async function answerByKeys(): Promise<Target> {
  const [caller, listener] = [generateP256Key(), generateP256Key()];
  return {
    name: 'answer of a listener by keys',
    samples: [],
    make: async (random) => {
      const point = generateP256Key().publicKey;
      const bytes = concatBytes(point, listener.publicKey, random.bytes(64));
      for (let i = random.below(3); i > 0; i--) bytes[random.below(bytes.length)] = random.u32();
      return random.below(3) === 0 ? bytes.slice(0, random.below(250)) : bytes;
    },
    cost: 'dear',
    codes: refusals,
    decode: (input) => keyCaller({ key: caller, peer: keyName(listener.publicKey) }).call(channelOf(input).handshake),
    accepts: never,
  };
}

const base64url = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

async function firstByCode(): Promise<Target> {
  const { handshake, said } = channelOf();
  await codeCaller('471-209-8835')
    .call(handshake)
    .catch(() => undefined);
  const first = new Uint8Array(said[0] ?? new Uint8Array());
  const responder = await codeResponder('471-209-8835', Number.POSITIVE_INFINITY);
  return {
    name: 'first message of a caller by code',
    samples: [],
    make: (random) => {
      const bytes = new Uint8Array(first);
      for (let i = random.below(4); i > 0; i--)
        bytes[random.below(bytes.length)] =
          random.below(8) === 0 ? random.u32() : random.pick([...base64url]).charCodeAt(0);
      return random.below(3) === 0 ? bytes.slice(0, random.below(150)) : bytes;
    },
    cost: 'dear',
    codes: refusals,
    decode: (input) => responder.respond(channelOf(input, utf8('QUJD')).handshake),
    accepts: never,
  };
}

async function answerByCode(): Promise<Target> {
  return {
    name: 'answer of a listener by code',
    samples: [],
    make: (random) =>
      utf8(Array.from({ length: random.pick([0, 10, 427, 428]) }, () => random.pick([...base64url])).join('')),
    cost: 'very dear',
    codes: refusals,
    decode: (input) => codeCaller('471-209-8835').call(channelOf(input).handshake),
    accepts: never,
  };
}
