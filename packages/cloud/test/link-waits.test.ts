import { decodeLink } from '@millrace/protocol';
import { MemoryRecords } from '@millrace/stores';
import { createOpening, createProtocolFixture } from '@millrace/testkit/protocol/support';
import { expect, it } from 'vitest';
import { NewestSession } from '../src/streaming/send-when-connected.ts';
import { segmentsStreams } from './segments-streams.ts';

// A distribution node that does not answer: what waits for its link holds up no machine that is connected to another.

const fixture = createProtocolFixture();
const { design } = fixture;

it('an opening waits for its link while other mail is handled', async () => {
  const sent: Uint8Array[] = [];
  const link = { connected: false, send: (message: Uint8Array) => link.connected && sent.push(message) > 0 };
  const streams = segmentsStreams(fixture, new MemoryRecords(), link);
  const later: Promise<void>[] = [];
  await streams.open(await createOpening(fixture), undefined, (work) => void later.push(work));
  expect({ later: later.length, sent: sent.length }).toEqual({ later: 1, sent: 0 });
  link.connected = true;
  await later[0];
  expect(sent.map((message) => decodeLink(message, false))).toMatchObject([
    { kind: 'control', message: { type: 'admit' } },
  ]);
  await streams.close();
});

it('a session that waited for its link does not replace a later one of its object', () => {
  const newest = new NewestSession();
  const [first, other] = [newest.enter(`${design}-1`), newest.enter(`${design}-2`)];
  const second = newest.enter(`${design}-1`);
  expect([first(), second(), other()]).toEqual([false, true, true]);
});
