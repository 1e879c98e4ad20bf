import assert from 'node:assert/strict';
import { type Bytes, utf8 } from '@millrace/base';
import type { Log } from '../log.ts';
import type { Range } from '../port.ts';
import type { Case } from './cases.ts';

export interface LogHarness {
  readonly log: Log;
  /** Closes the log and reopens it over the same data. */
  reopen(): Promise<Log>;
  dispose(): Promise<void>;
}

export type OpenLog = () => Promise<LogHarness>;

function logCase(name: string, check: (log: Log, harness: LogHarness) => Promise<void>): Case<OpenLog> {
  return {
    name,
    async run(open) {
      const harness = await open();
      try {
        await check(harness.log, harness);
      } finally {
        await harness.dispose();
      }
    },
  };
}

const put = (text: string): { put: Bytes; value: Bytes } => ({ put: utf8(text), value: utf8(`value of ${text}`) });

async function keysOf(log: Log, range?: Range): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of log.range(range)) keys.push(new TextDecoder().decode(key));
  return keys;
}

function coded(code: string): (error: unknown) => boolean {
  return (error) => error instanceof Error && 'code' in error && error.code === code;
}

/** Test cases of every log. */
export const logCases: readonly Case<OpenLog>[] = [
  logCase('appends a batch atomically and reads it by key and range', async (log) => {
    const writer = await log.acquire();
    await writer.append([put('entry/1'), put('entry/2'), put('head')]);
    await writer.append([put('entry/3'), { delete: utf8('head') }]);
    assert.deepEqual(await log.get(utf8('entry/2')), utf8('value of entry/2'));
    assert.equal(await log.get(utf8('head')), undefined);
    const several = await log.getMany([utf8('head'), utf8('entry/3'), utf8('entry/1')]);
    assert.deepEqual(several, [undefined, utf8('value of entry/3'), utf8('value of entry/1')]);
    assert.deepEqual(await keysOf(log), ['entry/1', 'entry/2', 'entry/3']);
    assert.deepEqual(await keysOf(log, { gte: utf8('entry/2') }), ['entry/2', 'entry/3']);
    assert.deepEqual(await keysOf(log, { gte: Uint8Array.of(0) }), ['entry/1', 'entry/2', 'entry/3']);
    assert.deepEqual(await keysOf(log, { lt: utf8('entry/3'), reverse: true, limit: 5 }), ['entry/2', 'entry/1']);
    await writer.append([]);
  }),
  logCase('refuses a fenced writer and keeps nothing of its batch', async (log, harness) => {
    const first = await log.acquire();
    await first.append([put('a')]);
    const second = await log.acquire();
    assert.ok(second.token > first.token);
    await assert.rejects(first.append([put('b'), { delete: utf8('a') }]), coded('E_FENCED'));
    await assert.rejects(first.append([]), coded('E_FENCED'));
    assert.deepEqual(await keysOf(log), ['a']);
    await second.append([put('c')]);
    const third = await (await harness.reopen()).acquire();
    assert.ok(third.token > second.token, 'never issues a token twice, even after a restart');
  }),
  logCase('has one writer when many take over concurrently', async (log) => {
    const writers = await Promise.all(Array.from({ length: 20 }, () => log.acquire()));
    assert.equal(new Set(writers.map(({ token }) => token)).size, 20);
    const appended = await Promise.allSettled(writers.map((writer) => writer.append([put(`t${writer.token}`)])));
    const newest = Math.max(...writers.map(({ token }) => token));
    assert.deepEqual(await keysOf(log), [`t${newest}`]);
    assert.equal(appended.filter(({ status }) => status === 'fulfilled').length, 1);
  }),
  logCase('keeps all acknowledged data when it is closed and reopened', async (log, harness) => {
    const writer = await log.acquire();
    for (let i = 0; i < 20; i++) await writer.append([put(`entry/${10 + i}`)]);
    assert.equal((await keysOf(await harness.reopen())).length, 20);
  }),
  logCase('refuses keys out of bounds, and calls after close', async (log) => {
    const writer = await log.acquire();
    for (const wrong of [new Uint8Array(), new Uint8Array(512), Uint8Array.of(0)]) {
      await assert.rejects(writer.append([put('a'), { put: wrong, value: wrong }]), coded('E_INPUT'));
      await assert.rejects(log.get(wrong), coded('E_INPUT'));
      await assert.rejects(log.getMany([utf8('a'), wrong]), coded('E_INPUT'));
    }
    assert.deepEqual(await keysOf(log), []);
    await log.close();
    await assert.rejects(writer.append([put('a')]), coded('E_STORE'));
    await assert.rejects(log.acquire(), coded('E_STORE'));
    await assert.rejects(log.get(utf8('a')), coded('E_STORE'));
    await assert.rejects(log.getMany([utf8('a')]), coded('E_STORE'));
    await assert.rejects(keysOf(log), coded('E_STORE'));
  }),
];
