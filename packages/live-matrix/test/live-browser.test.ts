import { createHash, randomBytes } from 'node:crypto';
import { toHex } from '@millrace/base';
import { chromium, pageSays } from '@millrace/testkit/live-matrix/page';
import { describe, expect, it } from 'vitest';

if (chromium === undefined) console.log('live streams in a browser: NOT CHECKED, there is no Chromium');
describe.runIf(chromium !== undefined)('live streams in a browser', () => {
  it('carry data exactly, and reject altered data', { timeout: 120_000 }, async () => {
    const data = randomBytes(60_001);
    const script = `
      import { channelPair, openLiveReceiver, openLiveSender } from '@millrace/live-matrix/browser';
      const toHex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
      const { text } = await given();
      const data = Uint8Array.from(text.match(/../g), (pair) => Number.parseInt(pair, 16));
      const secret = crypto.getRandomValues(new Uint8Array(32));
      const over = async ([near, far]) => {
        const receiver = openLiveReceiver({ channel: far, secret });
        const sender = openLiveSender({ channel: near, secret });
        const sending = new Blob([data]).stream().pipeTo(sender.writable).catch(() => undefined);
        const read = new Response(receiver.readable).arrayBuffer();
        // A Response does not give its reader the reason.
        const nothing = () => new ArrayBuffer(0);
        const [got] = await Promise.all([read.catch(nothing), receiver.closed, sender.closed.catch(nothing)]);
        await sending;
        return toHex(new Uint8Array(await crypto.subtle.digest('SHA-256', got)));
      };
      const whole = await over(channelPair());
      const [near, far] = channelPair();
      let messages = 0;
      const altering = new TransformStream({
        transform: (message, controller) => {
          if (messages++ === 2) message[100] ^= 1;
          controller.enqueue(message);
        },
      });
      const altered = await over([near, { readable: far.readable.pipeThrough(altering), writable: far.writable }])
        .catch((error) => error.code ?? String(error));
      await say(JSON.stringify({ whole, altered }));`;
    const said = await pageSays(chromium ?? '', { script, given: { text: toHex(data) } });
    expect(said).toMatch(/^\{/);
    const sha256 = createHash('sha256').update(data).digest('hex');
    expect(JSON.parse(said)).toEqual({ whole: sha256, altered: 'E_FRAME_MAC' });
  });
});
