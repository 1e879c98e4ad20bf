import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { chromium, pageSays } from '@millrace/testkit/live-matrix/page';
import { afterAll, describe, expect, it } from 'vitest';
import { createEngine } from '../src/engines/choose.ts';
import type { HashKey } from '../src/engines/engine.ts';
import { nodeHmac } from '../src/frame/node-hmac.ts';
import { makeReceiver } from '../src/frame-receiver.ts';
import { createGpuEngine, type GpuEngine } from '../src/gpu/gpu-engine.ts';
import { fillTableOnGpu, gpuFiller } from '../src/gpu/gpu-table.ts';
import { MAX_DISPATCH } from '../src/gpu/runner.ts';
import type { Gpu } from '../src/gpu/webgpu.ts';
import { createReceiver } from '../src/node-receiver.ts';
import { createSender } from '../src/node-sender.ts';
import type { SuiteName } from '../src/suites.ts';
import { allocateScratch, allocateTable, SUPERBLOCK } from '../src/table/hint-table.ts';
import { nodeTurn } from '../src/table/node-thread.ts';
import { createLocalRunner } from '../src/table/runner.ts';

const reasons: string[] = [];
const note = (reason: string) => reasons.push(reason);
const engine = await createGpuEngine({ software: true, note });
const native = createEngine();
afterAll(() => engine?.close());

// A message to the person who runs the tests: without an adapter the shader is not checked.
console.log(`WebGPU: ${engine === undefined ? `NOT CHECKED, ${reasons.join('; ')}` : engine.detail}`);

const noise = (text: string, bytes: number) =>
  new Uint8Array(createHash('shake256', { outputLength: bytes }).update(text).digest());
const words = (text: string, count: number) => new Uint32Array(noise(text, 4 * count).buffer);
const keyOf = (suite: SuiteName, text: string): HashKey => ({
  suite,
  revision: new DataView(noise(`t ${text}`, 8).buffer).getBigUint64(0),
  key: noise(`k ${text}`, 32),
});

if (engine === undefined) {
  describe('the gpu engine, without an adapter', () => {
    it('is unavailable, and gives the reason', () => {
      expect(reasons).toHaveLength(1);
      // Wrong hashes or a rejected shader would mean that there is an adapter, and this test would fail.
      expect(reasons[0]).toMatch(/^no WebGPU here|^WebGPU has no adapter/);
    });
  });
} else {
  describe(`the gpu engine on ${engine.detail}`, () => {
    it('matches the vectors', async () => {
      const { hashes } = JSON.parse(
        readFileSync(new URL('../../../vectors/live-matrix/hash.json', import.meta.url), 'utf8'),
      ) as { hashes: { suite: SuiteName; g: string; t: string; k: string; lane0: string }[] };
      expect(hashes.length).toBeGreaterThan(10);
      for (const { suite, g, t, k, lane0 } of hashes) {
        const key = { suite, revision: BigInt(t), key: Uint8Array.from(Buffer.from(k, 'hex')) };
        const [high, low] = [Number(BigInt(g) >> 32n), Number(BigInt(g) & 0xffff_ffffn)];
        const out = new Uint32Array(2);
        await engine.hashBatch(key, high, Uint32Array.of(low), out);
        expect(Buffer.from(out.buffer).toString('hex')).toBe(lane0);
      }
    });

    it.each(['keccak256', 'turboshake128'] as const)('matches the other engines for batches, %s', async (suite) => {
      for (const [count, high] of [
        [0, 0],
        [1, 0xffff_ffff],
        [63, 15],
        [1027, 0xdead_beef],
      ] as const) {
        const key = keyOf(suite, `batch ${count}`);
        const values = words(`values ${count}`, count + 1).subarray(1);
        const [a, b] = [new Uint32Array(2 * count), new Uint32Array(2 * count)];
        await engine.hashBatch(key, high, values, a);
        native.hashBatch(key, high, values, b);
        expect(a).toEqual(b);
      }
    });

    it.each(['keccak256', 'turboshake128'] as const)('matches the other engines for ranges, %s', async (suite) => {
      for (const [first, count, high] of [
        [0, 1, 0],
        [0x7fff, 2049, 3],
        [0xffff_ffff - 76, 77, 0x8000_0001],
        [12_345, 65, 15],
      ] as const) {
        const key = keyOf(suite, `range ${first}`);
        const [a, b] = [new Uint32Array(count + 1), new Uint32Array(count + 1)];
        await engine.hashRange(key, first, a.subarray(1), high);
        native.hashRange(key, first, b.subarray(1), high);
        expect(a).toEqual(b);
      }
    });

    it('joins dispatches, and keeps concurrent calls apart', async () => {
      const key = keyOf('turboshake128', 'long');
      const count = engine.software ? MAX_DISPATCH + 131 : 5 * MAX_DISPATCH + 131;
      const calls = [
        [keyOf('keccak256', 'short'), 99, 100],
        [key, 7, count],
        [keyOf('keccak256', 'short'), 5, 100],
      ] as const;
      const found = await Promise.all(
        calls.map(async ([its, first, size]) => {
          const out = new Uint32Array(new SharedArrayBuffer(4 * size));
          await engine.hashRange(its, first, out);
          return out;
        }),
      );
      for (const [i, [its, first, size]] of calls.entries()) {
        const expected = new Uint32Array(size);
        native.hashRange(its, first, expected);
        expect(Buffer.compare(Buffer.from(Uint32Array.from(found[i] ?? []).buffer), Buffer.from(expected.buffer))).toBe(
          0,
        );
      }
    });

    it('fills the same table as the other engines', async () => {
      const key = keyOf('turboshake128', 'table');
      const [ours, theirs] = [0, 1].map(() => ({ table: allocateTable(16), ...allocateScratch(16) }));
      if (ours === undefined || theirs === undefined) throw new Error('no tables');
      await fillTableOnGpu(engine, key, ours);
      native.partition(key, theirs, 0, 2 * SUPERBLOCK);
      native.index(theirs, 0);
      expect(Buffer.compare(Buffer.from(ours.table.entries.buffer), Buffer.from(theirs.table.entries.buffer))).toBe(0);
      expect(Buffer.compare(Buffer.from(ours.table.ends.buffer), Buffer.from(theirs.table.ends.buffer))).toBe(0);
    });

    describe('in a receiver', () => {
      const parameters = { suite: 'turboshake128', order: 16, hints: 'dense' } as const;
      const session = { parameters, sessionId: noise('session', 16), seed: noise('seed', 32) };
      const gpu = { software: true };

      it('computes the tables that frames are resolved with, revision after revision', async () => {
        const lines: string[] = [];
        const receiver = await createReceiver({ ...session, engine: 'gpu', gpu, note: (line) => lines.push(line) });
        expect([receiver.tables, receiver.engine]).toEqual(['gpu', native.name]);
        const sender = createSender({ ...session, engine: native });
        for (let frame = 0; frame < 3; frame++) {
          const cell = noise(`cell ${frame}`, 900);
          expect((await receiver.decode(sender.encode(frame, cell))).cell).toEqual(cell);
          await receiver.prepareNext();
          sender.advance();
        }
        await receiver.close();
        expect(lines).toEqual([]);
      });

      it('rejects waiting calls when it is closed during a table', async () => {
        const receiver = await createReceiver({ ...session, engine: 'gpu', gpu });
        const next = expect(receiver.prepareNext()).rejects.toEqual(expect.objectContaining({ code: 'E_STATE' }));
        await receiver.close();
        await next;
      });
    });

    it('rejects wrong sizes and keys, and continues', async () => {
      const key = keyOf('keccak256', 'refused');
      await expect(engine.hashBatch(key, 0, new Uint32Array(3), new Uint32Array(5))).rejects.toThrow(RangeError);
      await expect(engine.hashRange(key, 0xffff_ffff, new Uint32Array(2))).rejects.toThrow(RangeError);
      const short = { ...key, key: new Uint8Array(31) };
      await expect(engine.hashRange(short, 0, new Uint32Array(2))).rejects.toThrow(RangeError);
      const [a, b] = [new Uint32Array(9), new Uint32Array(9)];
      await engine.hashRange(key, 1, a);
      native.hashRange(key, 1, b);
      expect(a).toEqual(b);
    });

    it('rejects calls after it is closed', async () => {
      const other = await createGpuEngine({ software: true });
      await other?.close();
      await other?.close();
      const work = other?.hashRange(keyOf('keccak256', 'closed'), 0, new Uint32Array(1));
      await expect(work).rejects.toThrow('closed');
    });

    if (engine.software) {
      it('does not use a software adapter by default', async () => {
        const said: string[] = [];
        expect(await createGpuEngine({ note: (reason) => said.push(reason) })).toBeUndefined();
        expect(said.join()).toMatch(/computes on the processor|no adapter/);
      });
    }

    it.each(['closed', 'left open'])('lets the process exit when it is %s', async (how) => {
      const program = `
        import { createGpuEngine } from ${JSON.stringify(new URL('../dist/gpu/index.js', import.meta.url).href)};
        globalThis.engine = await createGpuEngine({ software: true });
        const out = new Uint32Array(3);
        await engine.hashRange({ suite: 'keccak256', revision: 0n, key: new Uint8Array(32) }, 0, out);
        if (${how === 'closed'}) await engine.close();
        console.log(out[0].toString(16));`;
      const run = promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program], {
        timeout: 50_000,
      });
      expect((await run).stdout.trim()).toBe('91e580c9');
    });
  });
}

if (chromium !== undefined) {
  const program = chromium;
  const flags = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-features=Vulkan'];
  describe('the gpu engine in a browser', () => {
    it('gives the same result as in Node, from the same files', { timeout: 120_000 }, async () => {
      const script = `
        import { createGpuEngine } from '@millrace/live-matrix/gpu';
        const said = [];
        const engine = await createGpuEngine({ software: true, note: (reason) => said.push(reason) });
        const out = new Uint32Array(2);
        await engine?.hashRange({ suite: 'keccak256', revision: 0n, key: new Uint8Array(32) }, 0, out);
        await engine?.close();
        await say(engine ? [...out].map((word) => word.toString(16)).join(' ') : said.join());`;
      expect(await pageSays(program, { script, flags })).toBe('91e580c9 31743878');
    });

    it('computes the tables of a receiver', { timeout: 120_000 }, async () => {
      const parameters = { suite: 'turboshake128', order: 16, hints: 'dense' } as const;
      const session = { parameters, sessionId: new Uint8Array(16), seed: new Uint8Array(32) };
      const cell = noise('cell in a page', 64);
      const frame = createSender({ ...session, engine: native }).encode(0, cell);
      const script = `
        import { createReceiver } from '@millrace/live-matrix/browser';
        const parameters = ${JSON.stringify(parameters)};
        const session = { parameters, sessionId: new Uint8Array(16), seed: new Uint8Array(32) };
        const receiver = await createReceiver({ ...session, engine: 'gpu', gpu: { software: true } });
        const { cell } = await receiver.decode(new Uint8Array(await given()));
        await receiver.close();
        await say(JSON.stringify([receiver.tables, ...cell]));`;
      expect(JSON.parse(await pageSays(program, { script, flags, given: [...frame] }))).toEqual(['gpu', ...cell]);
    });
  });
} else console.log('WebGPU in a browser: NOT CHECKED, there is no Chromium');

describe('a receiver set to use a graphics card', () => {
  const parameters = { suite: 'turboshake128', order: 16, hints: 'dense' } as const;
  const session = { parameters, sessionId: noise('session', 16), seed: noise('seed', 32) };
  const cell = noise('cell', 600);

  it('uses the fastest engine when there is no card, and warns in one line', async () => {
    const lines: string[] = [];
    const gpu: Gpu = { requestAdapter: async () => null };
    const receiver = await createReceiver({
      ...session,
      engine: 'gpu',
      gpu: { gpu },
      note: (line) => lines.push(line),
    });
    expect([receiver.tables, receiver.engine]).toEqual([native.name, native.name]);
    expect(lines).toEqual([
      `no tables on a graphics card: WebGPU has no adapter here; engine ${native.name} computes them`,
    ]);
    const sender = createSender({ ...session, engine: native });
    expect((await receiver.decode(sender.encode(0, cell))).cell).toEqual(cell);
    await receiver.close();
  });

  it('continues without the card when it fails during a table, and releases it', async () => {
    const lines: string[] = [];
    let closed = 0;
    const failing: GpuEngine = {
      ...{ name: 'gpu', detail: 'a card that is pulled out', software: false, hashBatch: async () => undefined },
      async hashRange(key, first, out) {
        if (pulled) throw new Error('the card was lost');
        native.hashRange(key, first, out);
      },
      close: async () => {
        closed++;
      },
    };
    let pulled = false;
    const runner = createLocalRunner(native, nodeTurn);
    const receiver = await makeReceiver(session, async () => ({
      ...{ engine: native, hmac: nodeHmac, runner, filler: gpuFiller(failing) },
      note: (line) => lines.push(line),
    }));
    expect(receiver.tables).toBe('gpu');
    pulled = true;
    await receiver.prepareNext();
    expect([receiver.tables, closed]).toEqual([native.name, 1]);
    expect(lines).toEqual(['the graphics card is no longer used for tables: Error: the card was lost']);
    const sender = createSender({ ...session, engine: native });
    sender.advance();
    expect((await receiver.decode(sender.encode(0, cell))).cell).toEqual(cell);
    await receiver.close();
    expect(closed).toBe(1);
  });
});

describe('creating the gpu engine', () => {
  it('returns nothing when WebGPU has no adapter', async () => {
    const said: string[] = [];
    const gpu: Gpu = { requestAdapter: async () => null };
    expect(await createGpuEngine({ gpu, software: true, note: (reason) => said.push(reason) })).toBeUndefined();
    expect(said).toEqual(['WebGPU has no adapter here']);
  });

  it('returns nothing when the device is refused', async () => {
    const said: string[] = [];
    const gpu: Gpu = {
      requestAdapter: async () => ({
        info: { vendor: 'maker', architecture: '', description: 'card' },
        requestDevice: async () => {
          throw new Error('out of memory');
        },
      }),
    };
    expect(await createGpuEngine({ gpu, note: (reason) => said.push(reason) })).toBeUndefined();
    expect(said).toEqual(['WebGPU does not work here: out of memory']);
  });
});
