import { type Bytes, concatBytes, copyBytes, equalBytes } from '@millrace/base';
import {
  createEngine,
  createReceiver,
  createSender,
  type MatrixParameters,
  type Receiver,
} from '@millrace/live-matrix';
import {
  decodeAnswer,
  decodeHello,
  decodeNote,
  encodeAnswer,
  encodeHello,
  encodeNote,
  frameMac,
  layData,
  layEnd,
  type Note,
  nodeHmac,
  openingMac,
  Ratchet,
  readCell,
} from '@millrace/live-matrix/parts';
import { readClaimedHeader } from '@millrace/machine/parts';
import { mutate } from '@millrace/testkit/fuzz/mutate';
import { Random } from '@millrace/testkit/fuzz/random';
import type { Target } from '@millrace/testkit/fuzz/target';
import { openEnds, outcomes } from '@millrace/testkit/live-matrix/live-helpers';

const fixed = (byte: number, length: number): Bytes => new Uint8Array(length).fill(byte);

/** Frames and their accompanying messages, in the cloud's streams and between peers. */
export async function streamTargets(): Promise<{ targets: Target[]; close: () => Promise<void> }> {
  const receivers: Receiver[] = [];
  const frames: Target[] = [];
  for (const hints of ['dense', 'sparse'] as const) {
    const parameters: MatrixParameters = { suite: 'turboshake128', order: 16, hints };
    const { target, receiver } = await frameTargets(parameters);
    frames.push(...target);
    receivers.push(receiver);
  }
  return {
    targets: [...frames, ...openingTargets(), noteTarget(), cellTarget(), claimedTarget(), liveTarget()],
    close: async () => {
      for (const receiver of receivers) await receiver.close();
    },
  };
}

async function frameTargets(parameters: MatrixParameters): Promise<{ target: Target[]; receiver: Receiver }> {
  const sessionId = fixed(1, 16);
  const seed = fixed(2, 32);
  const chaff = parameters.hints === 'sparse' ? { chaffPercent: 40 } : {};
  const sender = createSender({ parameters: { ...parameters, ...chaff }, sessionId, seed, engine: createEngine() });
  const receiver = await createReceiver({ parameters, sessionId, seed, threads: 0 });
  const frame = sender.encode(5, fixed(3, 400));
  const { keys } = new Ratchet(seed, 0n);
  sender.close();
  // A number is accepted once, and the samples are decoded repeatedly.
  const decode = async (input: Bytes) => {
    if (equalBytes(input, frame)) return undefined;
    return receiver.decode(input);
  };
  const authentic = (bytes: Bytes): Bytes => {
    const body = bytes.subarray(0, Math.max(0, bytes.length - 16));
    return concatBytes(body, frameMac(nodeHmac, keys.mac, body));
  };
  return {
    receiver,
    target: [
      {
        name: `frame, ${parameters.hints} hints`,
        samples: [frame],
        cost: 'cheap',
        codes: ['E_FRAME_FORMAT', 'E_FRAME_MAC', 'E_FRAME_REVISION', 'E_FRAME_REPLAY'],
        decode,
        accepts: 'samples',
      },
      {
        name: `frame of a sender that does what it likes, ${parameters.hints} hints`,
        samples: [frame],
        make: (random) => authentic(mutate([frame], random)),
        cost: 'middling',
        codes: ['E_FRAME_FORMAT', 'E_FRAME_MAC', 'E_FRAME_REVISION', 'E_FRAME_REPLAY', 'E_FRAME_UNSOLVED'],
        decode,
        accepts: 'any',
      },
    ],
  };
}

function openingTargets(): Target[] {
  const secret = fixed(4, 32);
  const point = concatBytes(Uint8Array.of(4), fixed(5, 64));
  const parameters = { suite: 'keccak256', order: 24, hints: 'dense' } as const;
  const hello = encodeHello({ parameters, cellBytes: 16_386, window: 64, point }, secret);
  const answer = encodeAnswer(point, hello, secret);
  const head = hello.subarray(0, -32);
  return [
    {
      name: 'hello of a live stream',
      samples: [hello],
      cost: 'middling',
      codes: ['E_FRAME_FORMAT', 'E_STREAM_AUTH'],
      decode: (input) => decodeHello(input, secret),
      accepts: 'samples',
    },
    {
      name: 'hello of a sender that proposes what it likes',
      samples: [hello],
      make: (random) => {
        const body = mutate([head], random);
        return concatBytes(body, openingMac(secret, 'hello', body));
      },
      cost: 'middling',
      codes: ['E_FRAME_FORMAT', 'E_STREAM_AUTH'],
      decode: (input) => decodeHello(input, secret),
      accepts: (result, input) => equalBytes(encodeHello(result as ReturnType<typeof decodeHello>, secret), input),
    },
    {
      name: 'answer of a live stream',
      samples: [answer],
      cost: 'middling',
      codes: ['E_FRAME_FORMAT', 'E_STREAM_AUTH'],
      decode: (input) => decodeAnswer(input, hello, secret),
      accepts: 'samples',
    },
  ];
}

function noteTarget(): Target {
  const notes: Note[] = [
    { kind: 'state', ready: 7n, taken: 3, tableMs: 5, resend: [1, 2, 3] },
    { kind: 'point', revision: 64n, point: concatBytes(Uint8Array.of(4), fixed(5, 64)) },
    { kind: 'done', total: 2n ** 40n },
    { kind: 'stop' },
  ];
  return {
    name: 'note of a live stream',
    samples: notes.map(encodeNote),
    cost: 'cheap',
    codes: ['E_FRAME_FORMAT'],
    decode: decodeNote,
    accepts: (result, input) => equalBytes(encodeNote(result as Note), input),
  };
}

function cellTarget(): Target {
  return {
    name: 'cell of a live stream',
    samples: [layData(16_386, fixed(1, 300)), layEnd(16_386, 5n), layData(48, fixed(1, 9))],
    cost: 'cheap',
    codes: ['E_FRAME_FORMAT'],
    decode: (input) => readCell(copyBytes(input)),
    accepts: 'any',
  };
}

function claimedTarget(): Target {
  return {
    name: 'what a frame says of itself',
    samples: [fixed(1, 60)],
    cost: 'cheap',
    codes: [],
    decode: readClaimedHeader,
    accepts: (result, input) => (result === undefined) === input.length < 38,
  };
}

const sent = fixed(6, 5_000);

/**
 * A whole live stream with one message changed in transit. Inputs: which message, of which end, and the seed of the
 * change. Both ends get a coded error, or the receiver gets everything.
 */
function liveTarget(): Target {
  const endings = /^(whole|E_FRAME_[A-Z]+|E_SEAL|E_STREAM_[A-Z]+|E_INPUT)$/;
  return {
    name: 'live stream, a message of it changed on its way',
    samples: [],
    make: (random) => random.bytes(6),
    cost: 'very dear',
    codes: [],
    decode: async (input) => {
      const [which = 0, end = 0] = input;
      const random = new Random(new DataView(input.buffer, input.byteOffset).getUint32(2));
      const change = (message: Uint8Array, index: number) => [
        index === which % 6 ? mutate([message], random) : message,
      ];
      const ends = openEnds(end % 2 === 0 ? { there: change } : { back: change });
      return outcomes(ends, [sent.subarray(0, 2_000), sent.subarray(2_000)]);
    },
    accepts: (result) => {
      const { sender, receiver, got } = result as Awaited<ReturnType<typeof outcomes>>;
      const right = receiver === 'whole' ? got !== undefined && equalBytes(got, sent) : true;
      return right && endings.test(sender) && endings.test(receiver);
    },
  };
}
