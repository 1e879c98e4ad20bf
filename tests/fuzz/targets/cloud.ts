import { type Bytes, concatBytes, copyBytes, silentLogger, u32be } from '@millrace/base';
import { createEngine } from '@millrace/live-matrix';
import { encodeControl, encodeStream, type HttpClient } from '@millrace/protocol';
import { Relay } from '../../../packages/cloud/src/distribution/relay.ts';
import { ReverseStream } from '../../../packages/cloud/src/streaming/reverse.ts';
import { machineEnd } from '../../attacks/support/machine-end.ts';
import { mutate } from '../support/mutate.ts';
import type { Random } from '../support/random.ts';
import type { Target } from '../support/target.ts';

const id = new Uint8Array(16).fill(7);
const machine = 'a'.repeat(32);
const parameters = {
  object: 'o',
  design: 'd',
  designNonce: new Uint8Array(16),
  segments: 20,
  from: 0,
  size: 20 * 16_370,
  window: 4,
  order: 16,
  suite: 'turboshake128',
  hints: 'dense',
  layer: 'ctr',
  revisionMs: 1,
} as const;

/** Nodes with state, told anything in any order. */
export async function cloudTargets(): Promise<{ targets: Target[]; close: () => Promise<void> }> {
  const reverse = await reverseTarget();
  return { targets: [relayTarget(), reverse.target], close: reverse.close };
}

/** Inputs are rounds of: who says it (one byte), length (u32be), message. */
function relayTarget(): Target {
  const offer = { session: id, ephemeral: new Uint8Array(65), enc: new Uint8Array(65), sealed: new Uint8Array(9) };
  const messages: readonly [number, Bytes][] = [
    [0, encodeControl({ type: 'call', call: 1, method: 'next', body: new Uint8Array(3) })],
    [1, encodeControl({ type: 'offer', machine, jti: machine, offer })],
    [0, encodeStream('reverse', new Uint8Array(40))],
    [2, encodeStream('frame', new Uint8Array(90), id)],
    [1, encodeStream('key', new Uint8Array(84), id)],
    [1, encodeControl({ type: 'mix', session: id, revision: 64, sealed: new Uint8Array(9) })],
    [2, encodeControl({ type: 'end', session: id, code: 'E_ALARM', reason: 'r' })],
  ];
  const written = (list: readonly (readonly [number, Uint8Array])[]) =>
    concatBytes(...list.flatMap(([who, message]) => [Uint8Array.of(who), u32be(message.length), message]));
  const control = {
    call: async () => ({ status: 200, body: new Uint8Array(), json: () => undefined }),
    close: () => undefined,
  };
  const make = (random: Random) =>
    written(
      Array.from({ length: 1 + random.below(8) }, () => {
        const [who, message] = random.pick(messages);
        return [
          random.below(3) === 0 ? random.below(3) : who,
          random.below(2) === 0 ? message : mutate([message], random),
        ] as const;
      }),
    );
  return {
    name: 'relay of the distribution node',
    samples: [],
    make,
    cost: 'cheap',
    codes: ['E_INPUT'],
    decode: (input) => {
      const relay = new Relay(control as unknown as HttpClient, silentLogger);
      const peer = { send: () => undefined, close: () => undefined };
      relay.machineOpened(machine, peer);
      relay.nodeOpened('keys', peer);
      relay.nodeOpened('segments', peer);
      for (let at = 0; at + 5 <= input.length; ) {
        const length = new DataView(input.buffer, input.byteOffset).getUint32(at + 1);
        const message = copyBytes(input.subarray(at + 5, at + 5 + length));
        if (input[at] === 0) relay.fromMachine(machine, message);
        else relay.fromNode(input[at] === 1 ? 'keys' : 'segments', message);
        at += 5 + length;
      }
      relay.close();
      return undefined;
    },
    accepts: 'any',
  };
}

/** Reverse frames: nothing but what the machine has sent moves a proactive node's stream on. */
async function reverseTarget(): Promise<{ target: Target; close: () => Promise<void> }> {
  const seed = new Uint8Array(32).fill(9);
  const stream = await ReverseStream.open(id, copyBytes(seed), parameters, createEngine());
  const end = machineEnd(seed, id, parameters);
  const frame = end.tell({ acked: 1, ready: 0n });
  end.close();
  return {
    target: {
      name: 'reverse frame',
      samples: [],
      make: (random) => {
        // The revision is left alone: a frame that claims a later one has its table computed, which is slow, not wrong.
        const bytes = mutate([frame], random);
        bytes.fill(0, 22, Math.min(30, bytes.length));
        return bytes;
      },
      cost: 'cheap',
      codes: ['E_FRAME_FORMAT', 'E_FRAME_MAC', 'E_FRAME_REVISION', 'E_FRAME_REPLAY'],
      decode: (input) => stream.receive(input),
      accepts: (_, input) => Buffer.compare(input, frame) === 0,
    },
    close: () => stream.close(),
  };
}
