import { type Bytes, type Clock, concatBytes, copyBytes, encodeCbor, silentLogger, u32be } from '@millrace/base';
import { KeysStream, PaceGuard, Relay, ReverseStream, SegmentsStream } from '@millrace/cloud/parts';
import { generateP256Key } from '@millrace/identity';
import { createEngine } from '@millrace/live-matrix';
import { decodeKey, decodeLink, encodeControl, encodeStream, type HttpClient } from '@millrace/protocol';
import { machineEnd } from '@millrace/testkit/attacks/machine-end';
import { encodeLoosely, mutate, mutateValue } from '@millrace/testkit/fuzz/mutate';
import type { Random } from '@millrace/testkit/fuzz/random';
import type { Target } from '@millrace/testkit/fuzz/target';
import { SEGMENT_BYTES } from '@millrace/vault';

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

/** Nodes with state, given any messages in any order. */
export async function cloudTargets(): Promise<{ targets: Target[]; close: () => Promise<void> }> {
  const reverse = await reverseTarget();
  return { targets: [relayTarget(), reverse.target, ...sessionTargets()], close: reverse.close };
}

/** Inputs are rounds of: sender (one byte), length (u32be), message. */
function relayTarget(): Target {
  const offer = { session: id, ephemeral: new Uint8Array(65), enc: new Uint8Array(65), sealed: new Uint8Array(9) };
  const messages: readonly [number, Bytes][] = [
    [0, encodeControl({ type: 'call', call: 1, method: 'next', body: new Uint8Array(3) })],
    [1, encodeControl({ type: 'offer', machine, permitId: machine, offer })],
    [2, encodeControl({ type: 'admit', permitId: machine, machine })],
    [2, encodeControl({ type: 'route', session: id, machine })],
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
      const keys = { id: 'keys-1', role: 'keys' } as const;
      const segments = { id: 'segments-1', role: 'segments' } as const;
      relay.nodeOpened(keys, peer);
      relay.nodeOpened(segments, peer);
      for (let at = 0; at + 5 <= input.length; ) {
        const length = new DataView(input.buffer, input.byteOffset).getUint32(at + 1);
        const message = copyBytes(input.subarray(at + 5, at + 5 + length));
        if (input[at] === 0) relay.fromMachine(machine, message);
        else relay.fromNode(input[at] === 1 ? keys : segments, message);
        at += 5 + length;
      }
      relay.close();
      return undefined;
    },
    accepts: 'any',
  };
}

/** Reverse frames: only what the machine has sent may advance a proactive node's stream. */
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
        // The revision is not changed: for a frame of a later one the table is computed, which is slow but correct.
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

/**
 * A machine with a session sends the proactive nodes arbitrary telemetry: the first is honest, the second is fuzzed.
 * Its own stream may end. Nothing may be thrown, because that would end the node. Inputs are telemetry before sealing.
 */
function sessionTargets(): Target[] {
  const engine = createEngine();
  const session = new Uint8Array(16).fill(8);
  const seed = new Uint8Array(32).fill(6);
  const point = generateP256Key().publicKey;
  const told = [
    { acked: 1, ready: 3, resend: [0, 1, 2] },
    { acked: 0, ready: 40, mix: point, tableMs: 9 },
    { acked: 2, ready: 63, mix: point },
  ];
  const clock: Clock = { now: () => 0, monotonic: () => 0 };
  const guard = () =>
    new PaceGuard({ tenthsOfMs: new Array<number>(parameters.segments).fill(1), factor: 1, window: 4, clock });
  const common = { session, parameters, engine, clock, logger: silentLogger };
  const openers = {
    keys: (note: (segment: number) => void) =>
      KeysStream.open({
        ...common,
        seed: copyBytes(seed),
        guard: guard(),
        context: { enc: new Uint8Array(65), seal: async (plain) => concatBytes(plain, new Uint8Array(16)) },
        slice: async (from, to) =>
          Array.from({ length: to - from }, (_, i) => ({
            segment: from + i,
            outerKey: new Uint8Array(32),
            cek: new Uint8Array(32),
          })),
        hashes: async () => ({ hashes: new Uint8Array(64), path: [] }),
        mailMix: async () => undefined,
        send: (message) => {
          const link = decodeLink(message, true);
          if (link.kind === 'key') note(decodeKey(link.payload).segment);
          return true;
        },
        onEnd: () => undefined,
      }),
    segments: async (note: (segment: number) => void) => {
      const stream = await SegmentsStream.open({
        ...common,
        permitId: 'j',
        seed: copyBytes(seed),
        guard: guard(),
        sendFrame: (frame) => {
          note(new DataView(frame.buffer, frame.byteOffset).getUint32(30));
          return true;
        },
        onTelemetry: () => undefined,
        onFirstTaken: async () => undefined,
        onEnd: () => undefined,
      });
      for (let segment = 0; segment < parameters.segments; segment++)
        stream.addCell(segment, new Uint8Array(SEGMENT_BYTES));
      return stream;
    },
  };
  return Object.entries(openers).map(
    ([node, open]): Target => ({
      name: `telemetry of a machine that says what it likes, at the ${node} node`,
      samples: told.map((one) => encodeCbor(one as never)),
      make: (random) => {
        // Not a point on the curve, but of the correct form.
        if (random.below(4) === 0)
          return encodeCbor({ ...told[1], mix: concatBytes(Uint8Array.of(4), random.bytes(64)) } as never);
        return encodeLoosely(mutateValue(random.pick<unknown>(told), random));
      },
      cost: 'dear',
      codes: [],
      decode: async (input) => {
        const given = new Set<number>();
        const stream = await open((segment) => given.add(segment));
        const end = machineEnd(seed, session, parameters);
        await stream.receive(end.tell({ acked: 0, ready: 0n }));
        await new Promise((resolve) => setImmediate(resolve));
        await stream.receive(end.tellBytes(input));
        await new Promise((resolve) => setImmediate(resolve));
        await stream.close();
        end.close();
        return given;
      },
      // The acknowledged segments were sent before, so two windows are the most that it gets.
      accepts: (given) => (given as Set<number>).size <= 2 * parameters.window,
    }),
  );
}
