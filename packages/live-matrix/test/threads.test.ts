import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { availableEngines, createEngine } from '../src/engines/choose.ts';
import type { EngineName } from '../src/engines/engine.ts';
import { createReceiver } from '../src/node-receiver.ts';
import { createSender } from '../src/node-sender.ts';
import type { MatrixParameters } from '../src/parameters.ts';
import { TableBuilder } from '../src/table/builder.ts';
import type { HintTable } from '../src/table/hint-table.ts';
import { TableMemory } from '../src/table/memory.ts';
import { nodeTurn } from '../src/table/node-thread.ts';
import { createLocalRunner } from '../src/table/runner.ts';

const parameters: MatrixParameters = { suite: 'turboshake128', order: 16, hints: 'dense' };
const sessionId = randomBytes(16);
const seed = randomBytes(32);

describe('worker threads', () => {
  const runs = availableEngines().flatMap(({ name }): (readonly [EngineName, number])[] =>
    // Three native threads run on libuv's pool, five in workers that load the addon.
    name === 'native'
      ? [
          [name, 3],
          [name, 5],
        ]
      : [[name, 3]],
  );

  it.each(runs)(
    'run engine %s in several receivers at once, %i threads each, tables and frames together',
    async (engine, threads) => {
      const sets = [parameters, { ...parameters, hints: 'sparse', chaffPercent: 20 } as const];
      const receivers = await Promise.all(
        sets.map((one) => createReceiver({ parameters: one, sessionId, seed, engine, threads })),
      );
      const senders = sets.map((one) => createSender({ parameters: one, sessionId, seed, engine: createEngine() }));
      for (let revision = 0; revision < 3; revision++) {
        const decoded = receivers.map(async (receiver, i) => {
          const cells = Array.from({ length: 12 }, (_, at) =>
            createHash('shake256', { outputLength: 2 * (at + 1) * (i + 7) })
              .update(`${revision} ${at}`)
              .digest(),
          );
          const frames = cells.map((cell, at) => senders[i]?.encode(100 * revision + at, cell) ?? new Uint8Array());
          const next = receiver.prepareNext(); // while the frames are looked up
          const results = await Promise.all(frames.map((frame) => receiver.decode(frame)));
          expect(results.map(({ cell }) => Buffer.from(cell))).toEqual(cells);
          await next;
          senders[i]?.advance();
        });
        await Promise.all(decoded);
      }
      expect(receivers.map(({ engine: running, ready }) => [running, ready])).toEqual([
        [engine, 3n],
        [engine, 3n],
      ]);
      await Promise.all(receivers.map((receiver) => receiver.close()));
    },
  );

  it('reject waiting calls when they are closed during a table', async () => {
    const receiver = await createReceiver({ parameters, sessionId, seed, engine: 'ts', threads: 1 });
    const next = receiver.prepareNext();
    const outcome = expect(next).rejects.toEqual(expect.objectContaining({ code: 'E_STATE' }));
    await receiver.close();
    await outcome;
  });
});

describe('an unfinished table', () => {
  it('is wiped when its builder is closed', async () => {
    const engine = createEngine('wasm');
    let seen: Uint32Array | undefined;
    const spy = {
      ...engine,
      partition: (...all: Parameters<typeof engine.partition>) => {
        seen = all[1].table.entries;
        engine.partition(...all);
      },
    };
    const runner = createLocalRunner(spy, nodeTurn);
    const builder = new TableBuilder(16, { runner, engine, memory: new TableMemory() });
    const building = builder.build({ suite: 'turboshake128', revision: 1n, key: new Uint8Array(32) });
    const outcome = expect(building).rejects.toEqual(expect.objectContaining({ code: 'E_STATE' }));
    await new Promise(setImmediate);
    expect(seen?.some((entry) => entry !== 0)).toBe(true);
    await runner.close();
    await builder.close();
    await outcome;
    expect(seen?.every((entry) => entry === 0)).toBe(true);
  });
});

describe('table memory', () => {
  it.each(availableEngines().map(({ name }) => name))(
    'is reused by the next receiver, wiped (engine %s)',
    async (engine) => {
      const memory = new TableMemory();
      const given = new Set<HintTable>();
      const give = memory.give.bind(memory);
      memory.give = (table) => {
        expect(table.entries.every((word) => word === 0)).toBe(true);
        given.add(table);
        give(table);
      };
      for (let round = 0; round < 3; round++) {
        const receiver = await createReceiver({ parameters, sessionId, seed, engine, memory });
        await receiver.prepareNext();
        await receiver.prepareNext();
        await receiver.close();
      }
      expect(given.size).toBe(2);
    },
  );
});

describe('a thousand revisions', () => {
  it('do not leak memory, and sender and receiver stay in step', async () => {
    const engine = createEngine();
    const sender = createSender({ parameters, sessionId, seed, engine });
    const receiver = await createReceiver({ parameters, sessionId, seed });
    const cell = randomBytes(64);
    let settled = 0;
    for (let revision = 1; revision <= 1_000; revision++) {
      if (revision % 64 === 0) {
        const secret = createHash('sha256').update(`${revision}`).digest();
        sender.mix(secret);
        receiver.mix(secret);
      }
      sender.advance();
      await receiver.prepareNext();
      if (revision % 50 === 0) {
        expect(Buffer.from((await receiver.decode(sender.encode(revision, cell))).cell)).toEqual(cell);
      }
      if (revision === 300) settled = process.memoryUsage.rss();
    }
    // A table of this order has 272 KiB: one kept per revision would be 190 MB. Only the RSS counts shared memory.
    expect(process.memoryUsage.rss() - settled).toBeLessThan(80e6);
    await receiver.close();
  });
});

describe('the build without a compiler', () => {
  it('prints one line and does not fail', () => {
    const folder = fileURLToPath(new URL('..', import.meta.url));
    const copy = mkdtempSync(join(tmpdir(), 'millrace-build-'));
    try {
      cpSync(join(folder, 'scripts'), join(copy, 'scripts'), { recursive: true });
      cpSync(join(folder, 'native'), join(copy, 'native'), {
        recursive: true,
        filter: (path) => !path.endsWith('build'),
      });
      const program = `import(process.argv[1]).then(({ buildNative }) => console.log(buildNative()))`;
      const { status, stdout, stderr } = spawnSync(
        process.execPath,
        ['-e', program, join(copy, 'scripts', 'build-native.mjs')],
        { encoding: 'utf8', env: { PATH: copy } },
      );
      expect([status, stderr]).toEqual([0, '']);
      expect(stdout).toBe('no native engine: there is no C compiler; WebAssembly is used instead\n');
    } finally {
      rmSync(copy, { recursive: true, force: true });
    }
  });
});

describe('the C kernels without Node', () => {
  const script = fileURLToPath(new URL('../scripts/check-native.mjs', import.meta.url));

  it.each(['sanitize', 'neon'])('%s: clean, or not checked because a tool is missing', (mode) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [script, mode], { encoding: 'utf8' });
    expect(stderr).toBe('');
    expect(status).toBe(0);
    expect(stdout).toMatch(/^(clean: \d+ vectors;|not checked: .+ is missing)/);
  });
});
