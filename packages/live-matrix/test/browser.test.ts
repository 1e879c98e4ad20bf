import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fromHex, toHex } from '@millrace/base';
import { chromium, pageSays } from '@millrace/testkit/live-matrix/page';
import { describe, expect, it } from 'vitest';
import { createEngine } from '../src/engines/choose.ts';
import { createReceiver } from '../src/node-receiver.ts';
import { createSender } from '../src/node-sender.ts';
import type { MatrixParameters } from '../src/parameters.ts';

const TIMEOUT = 120_000;
const common = `
  import * as library from '@millrace/live-matrix/browser';
  const toHex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  const fromHex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
  const sha256 = async (bytes) => toHex(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)));
  const shared = typeof SharedArrayBuffer === 'function';
`;

if (chromium === undefined) console.log('the library in a browser: NOT CHECKED, there is no Chromium');
describe.runIf(chromium !== undefined)('the library in a browser', () => {
  const browser = chromium ?? '';

  it('matches the vectors with every engine', { timeout: TIMEOUT }, async () => {
    const script = `${common}
      import { shake256 } from '@noble/hashes/sha3.js';
      const { hashes, ranges } = await (await fetch('/vectors/hash.json')).json();
      const { frames } = await (await fetch('/vectors/frames.json')).json();
      const wrong = [];
      let checked = 0;
      const check = (what, found, wanted) => {
        checked++;
        if (found !== wanted) wrong.push(what + ': ' + found + ' is not ' + wanted);
      };
      for (const name of ['wasm-simd', 'wasm', 'ts']) {
        const engine = await library.loadEngine(name);
        check('name', engine.name, name);
        for (const { suite, g, t, k, lane0 } of hashes) {
          const out = new Uint32Array(2);
          const key = { suite, revision: BigInt(t), key: fromHex(k) };
          engine.hashBatch(key, Number(BigInt(g) >> 32n), Uint32Array.of(Number(BigInt(g) & 0xffffffffn)), out);
          check(name + ' ' + g, toHex(new Uint8Array(out.buffer)), lane0);
        }
        for (const { suite, t, k, first, count, sha256OfLowWords } of ranges) {
          const out = new Uint32Array(count);
          engine.hashRange({ suite, revision: BigInt(t), key: fromHex(k) }, first, out);
          check(name + ' range ' + first, await sha256(out), sha256OfLowWords);
        }
        for (const one of frames) {
          const session = { parameters: one.parameters, sessionId: fromHex(one.sessionId), seed: fromHex(one.firstSecret),
            firstRevision: BigInt(one.firstRevision) };
          const sender = library.createSender({ ...session, engine });
          while (sender.revision < BigInt(one.revision)) sender.advance();
          const cell = shake256(new TextEncoder().encode(one.cellShake256Of), { dkLen: one.cellBytes });
          check(name + ' sends ' + one.name, await sha256(sender.encode(one.frameNumber, cell)), one.frameSha256);
          if (one.parameters.order !== 16) continue;
          const receiver = await library.createReceiver({ ...session, engine: name });
          check('receiver', receiver.engine, name);
          while (receiver.ready < BigInt(one.revision)) await receiver.prepareNext();
          const decoded = await receiver.decode(fromHex(one.frame));
          check(name + ' resolves ' + one.name, toHex(decoded.cell), one.cell);
          await receiver.close();
        }
      }
      await say(JSON.stringify({ checked, wrong }));`;
    const { checked, wrong } = JSON.parse(await pageSays(browser, { script })) as { checked: number; wrong: string[] };
    expect(wrong).toEqual([]);
    const { hashes, ranges } = JSON.parse(
      readFileSync(new URL('../../../vectors/live-matrix/hash.json', import.meta.url), 'utf8'),
    ) as { hashes: unknown[]; ranges: unknown[] };
    expect(checked).toBeGreaterThan(3 * (hashes.length + ranges.length));
  });

  const bothWays: readonly (readonly [
    what: string,
    MatrixParameters,
    engine: string,
    isolated: boolean,
    threads: number,
  ])[] = [
    ['order 24, SIMD, in web workers', { suite: 'turboshake128', order: 24, hints: 'dense' }, 'wasm-simd', true, 2],
    ['order 16, SIMD, no shared memory', { suite: 'keccak256', order: 16, hints: 'dense' }, 'wasm-simd', false, 0],
    [
      'order 16 with chaff, plain WebAssembly, in web workers',
      { suite: 'keccak256', order: 16, hints: 'sparse', chaffPercent: 30 },
      'wasm',
      true,
      1,
    ],
  ];

  it.each(bothWays)('exchanges frames with Node in both directions, %s', { timeout: TIMEOUT }, async (...row) => {
    const [, parameters, engine, isolated, threads] = row;
    const [sessionId, seed, cell] = [randomBytes(16), randomBytes(32), randomBytes(8_190)];
    const session = { parameters, sessionId, seed };
    const sender = createSender({ ...session, engine: createEngine() });
    const first = sender.encode(0, cell);
    sender.advance();
    const second = sender.encode(1, cell);
    const script = `${common}
      const { parameters, sessionId, seed, frames, engine, threads } = await given();
      const session = { parameters, sessionId: fromHex(sessionId), seed: fromHex(seed) };
      const receiver = await library.createReceiver({ ...session, engine, threads });
      const cells = [(await receiver.decode(fromHex(frames[0]))).cell];
      await receiver.prepareNext();
      cells.push((await receiver.decode(fromHex(frames[1]))).cell);
      const altered = fromHex(frames[1]);
      altered[100] ^= 1;
      const refused = await receiver.decode(altered).catch(({ code }) => code);
      await receiver.close();
      const sender = library.createSender({ ...session, engine: await library.loadEngine(engine) });
      const sent = toHex(sender.encode(9, cells[0]));
      await say(JSON.stringify({ cells: await Promise.all(cells.map(sha256)), refused, sent, shared }));`;
    const given = {
      ...{ parameters, engine, threads, sessionId: toHex(sessionId), seed: toHex(seed) },
      frames: [toHex(first), toHex(second)],
    };
    const said = await pageSays(browser, { script, given, isolated });
    expect(said).toMatch(/^\{/);
    const { cells, refused, sent, shared } = JSON.parse(said) as Record<'refused' | 'sent', string> & {
      cells: string[];
      shared: boolean;
    };
    const wanted = createHash('sha256').update(cell).digest('hex');
    expect({ cells, refused, shared }).toEqual({ cells: [wanted, wanted], refused: 'E_FRAME_MAC', shared: isolated });
    const receiver = await createReceiver(session);
    expect(Buffer.compare((await receiver.decode(fromHex(sent))).cell, cell)).toBe(0);
    await receiver.close();
  });

  it('rejects threads where no memory can be shared, and unavailable engines', { timeout: TIMEOUT }, async () => {
    const script = `${common}
      const session = { parameters: { suite: 'keccak256', order: 16, hints: 'dense' }, sessionId: new Uint8Array(16),
        seed: new Uint8Array(32) };
      const codeOf = (work) => work.then(() => 'none', ({ code, message }) => code + ' ' + message);
      await say(JSON.stringify([
        await codeOf(library.createReceiver({ ...session, threads: 2 })),
        await codeOf(library.createReceiver({ ...session, engine: 'wasm-simd', threads: -1 })),
        (await library.loadEngine()).name,
      ]));`;
    expect(JSON.parse(await pageSays(browser, { script }))).toEqual([
      'E_ENGINE threads need a page that is cross-origin isolated (COOP and COEP headers)',
      'E_INPUT threads must be 0 to 256',
      'wasm-simd',
    ]);
  });
});
