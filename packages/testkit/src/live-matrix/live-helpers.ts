import { randomBytes } from 'node:crypto';
import { type Bytes, concatBytes, copyBytes } from '@millrace/base';
import {
  channelPair,
  type LiveChannel,
  type LiveReceiver,
  type LiveReceiverOptions,
  type LiveSender,
  type LiveSenderOptions,
  openLiveReceiver,
  openLiveSender,
} from '@millrace/live-matrix';
import { expect } from 'vitest';

export const random = (length: number): Bytes => copyBytes(randomBytes(length));

export const code = (name: string) => expect.objectContaining({ code: name });

/** An attacker's change to one message: the messages to forward (none, one or more), or 'cut'. */
export type Meddle = (message: Uint8Array, index: number) => readonly Uint8Array[] | 'cut';

function meddled(stream: ReadableStream<Uint8Array>, meddle: Meddle): ReadableStream<Uint8Array> {
  let index = 0;
  return stream.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform(message, controller) {
        const passed = meddle(message, index++);
        if (passed === 'cut') controller.terminate();
        else for (const one of passed) controller.enqueue(one);
      },
    }),
  );
}

export interface Ends {
  readonly sender: LiveSender;
  readonly receiver: LiveReceiver;
}

type Changes = Partial<LiveSenderOptions> & {
  readonly receiving?: Partial<LiveReceiverOptions>;
  /** Changes to the sender's messages, and to the receiver's. */
  readonly there?: Meddle;
  readonly back?: Meddle;
};

const same: Meddle = (message) => [message];

export function openEnds({ receiving, there = same, back = same, ...sending }: Changes = {}): Ends {
  const secret = random(32);
  const [a, b] = channelPair();
  const near: LiveChannel = { readable: meddled(a.readable, back), writable: a.writable };
  const far: LiveChannel = { readable: meddled(b.readable, there), writable: b.writable };
  return {
    receiver: openLiveReceiver({ channel: far, secret, ...receiving }),
    sender: openLiveSender({ channel: near, secret, ...sending }),
  };
}

/** Writes the chunks and closes. Rejects with the error of the writable. */
export async function sendAll({ writable }: LiveSender, chunks: Iterable<Uint8Array>): Promise<void> {
  const writer = writable.getWriter();
  writer.closed.catch(() => undefined);
  for (const chunk of chunks) await writer.write(chunk);
  await writer.close();
}

export async function readAll({ readable }: LiveReceiver): Promise<Bytes> {
  const parts: Uint8Array[] = [];
  const reader = readable.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) parts.push(part.value);
  return concatBytes(...parts);
}

/** The outcome at both ends: 'whole', or the error's code. */
export async function outcomes(
  ends: Ends,
  chunks: Iterable<Uint8Array>,
): Promise<{ sender: string; receiver: string; got: Bytes | undefined }> {
  const codeOf = (error: unknown) => String((error as { code?: unknown }).code ?? error);
  const whole = () => 'whole';
  const sending = sendAll(ends.sender, chunks).catch(() => undefined);
  const reading = readAll(ends.receiver).catch(() => undefined);
  const sender = await ends.sender.closed.then(whole, codeOf);
  const receiver = await ends.receiver.closed.then(whole, codeOf);
  await sending;
  return { sender, receiver, got: await reading };
}
