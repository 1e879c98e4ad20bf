// A process whose memory a test reads: a receiver at the revision that its parent requests, and a sender. It reads its
// parameters from standard input and reports when it has reached the revision.
import { createEngine, createReceiver, createSender } from '@millrace/live-matrix';

let text = '';
for await (const chunk of process.stdin) text += chunk;
const { seed, session, cells, revision, engine } = JSON.parse(text);
const parameters = { suite: 'turboshake128', order: 16, hints: 'dense' };
const bytes = (hex) => new Uint8Array(Buffer.from(hex, 'hex'));
const own = bytes(seed);
const options = { parameters, sessionId: bytes(session), seed: own, engine, threads: 0 };
const receiver = await createReceiver(options);
const sender = createSender({ ...options, engine: createEngine(engine) });
own.fill(0);
text = '';
for (let r = 0; r <= revision; r++) {
  if (r > 0) {
    await receiver.prepareNext();
    sender.advance();
  }
  await receiver.decode(sender.encode(r, bytes(cells)));
}
sender.close();
process.stdout.write('there\n');
setInterval(() => undefined, 1_000);
