import { systemRandom } from '@millrace/base';
import type { MessageOf, Opening } from '@millrace/protocol';
import { type Collection, MemoryRecords, type RecordStore } from '@millrace/stores';
import { createOpening, createProtocolFixture } from '@millrace/testkit/protocol/support';
import { beforeEach, expect, it } from 'vitest';
import type { SegmentsContext } from '../src/segments/context.ts';
import { handleMail } from '../src/segments/messages.ts';
import { OpeningOrder } from '../src/streaming/opening-order.ts';
import { segmentsStreams } from './segments-streams.ts';

// A dishonest control node, with its own permit key, sends openings at once that exclude each other.

const fixture = createProtocolFixture();
const { directory } = fixture;

/** Records whose every request takes a random time, as those of a cluster do. */
function slowRecords(): RecordStore {
  const records = new MemoryRecords();
  const slow = (collection: Collection) =>
    new Proxy(collection, {
      get: (target, name) => {
        const member = Reflect.get(target, name);
        if (typeof member !== 'function') return member;
        return async (...options: unknown[]) => {
          await new Promise((resolve) => setTimeout(resolve, Math.random() * 4));
          return member.apply(target, options);
        };
      },
    });
  return {
    collection: (name, options) => slow(records.collection(name, options)),
    collections: () => records.collections(),
    close: () => records.close(),
  };
}

let context: SegmentsContext;
/** Machines that were announced to their distribution node. */
let admitted: number;
beforeEach(() => {
  admitted = 0;
  const streams = segmentsStreams(fixture, slowRecords(), { connected: true, send: () => ++admitted > 0 });
  context = { streams, openings: new OpeningOrder(), directory } as unknown as SegmentsContext;
});

const control = { id: 'control-1', role: 'control' } as never;

/** What becomes of openings that arrive one after the other, none waiting for another. */
async function outcomes(openings: readonly Opening[]): Promise<string[]> {
  const works: Promise<void>[] = [];
  for (const opening of openings)
    await handleMail(
      context,
      { type: 'stream.open', opening } as MessageOf<'stream.open'>,
      control,
      (work) => void works.push(work),
    );
  const ended = await Promise.allSettled(works);
  return ended.map((end) => (end.status === 'fulfilled' ? 'opened' : end.reason.code));
}

it('of several prints and runs for one object, one is streamed', async () => {
  const id = systemRandom(16);
  const openings = await Promise.all(Array.from({ length: 6 }, () => createOpening(fixture, { licence: { id } })));
  const [first, ...others] = (await outcomes(openings)).sort();
  expect(others.at(-1)).toBe('opened');
  expect([first, ...others.slice(0, -1)]).toEqual(Array(5).fill('E_REPLAY'));
  expect(admitted).toBe(1);
});

it('of the objects of one print, one is streamed', async () => {
  const id = systemRandom(16);
  const print = { id: systemRandom(16) };
  const openings = await Promise.all(
    [1, 2].map((number) => createOpening(fixture, { licence: { id }, print, permit: { number } })),
  );
  expect((await outcomes(openings)).sort()).toEqual(['E_REPLAY', 'opened']);
});

it('different objects are all streamed, and a permit that is sent again is used once', async () => {
  const id = systemRandom(16);
  const openings = await Promise.all(
    [1, 2].map((number) => createOpening(fixture, { licence: { id }, permit: { number } })),
  );
  expect(await outcomes([...openings, ...openings])).toEqual(Array(4).fill('opened'));
  expect(admitted).toBe(2);
});
