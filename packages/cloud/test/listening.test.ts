import type { Clock } from '@millrace/base';
import { chooseNode } from '@millrace/protocol';
import { twoSegmentsNodes } from '@millrace/testkit/protocol/support';
import { beforeEach, expect, it } from 'vitest';
import { Listening } from '../src/control/listening.ts';

const { directory, first } = twoSegmentsNodes();
const design = '11'.repeat(16);
const own = chooseNode(directory, 'segments', design).id;
const other = own === 'segments-2' ? first.id : 'segments-2';

let now = 0;
const clock: Clock = { now: () => now, monotonic: () => now };
let listening: Listening;
beforeEach(() => {
  now = 1_000;
  listening = new Listening(clock);
});

/** A node waits for mail until the returned function is called. */
function waits(node: string, connection: AbortSignal = new AbortController().signal): () => Promise<void> {
  let end = () => {};
  const call = listening.during(node, connection, () => new Promise<void>((resolve) => (end = resolve)));
  return async () => {
    end();
    await call;
  };
}

const chosen = () => listening.segmentsNode(directory, design);

it('a design’s own node streams, as long as it asks for mail', async () => {
  expect(chosen()).toBe(own);
  now += 10_000;
  const end = waits(own);
  now += 60_000;
  expect(chosen()).toBe(own);
  await end();
  now += 3_900;
  expect(chosen()).toBe(own);
});

it('another node streams when it took its mail and asks for no more, and its own again when it does', async () => {
  waits(other);
  await waits(own)();
  now += 4_000;
  expect(chosen()).toBe(other);
  waits(own);
  expect(chosen()).toBe(own);
});

it('another node streams at once when the connection of its own broke', async () => {
  waits(other);
  const broken = new AbortController();
  const end = waits(own, broken.signal);
  broken.abort();
  await end();
  expect(chosen()).toBe(other);
});

it('of two calls of a node, the one that goes on counts', async () => {
  waits(other);
  const broken = new AbortController();
  const end = waits(own, broken.signal);
  waits(own);
  broken.abort();
  await end();
  expect(chosen()).toBe(own);
});

it('if none asks for mail, its own node is named: the stream waits', () => {
  now += 60_000;
  expect(chosen()).toBe(own);
});
