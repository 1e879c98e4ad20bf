import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { utf8 } from '@millrace/base';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { kafkaError } from '../src/kafka/errors.ts';
import {
  acknowledgedRecord,
  decodeRecord,
  markRecord,
  messageRecord,
  type RawRecord,
  repeatedRecord,
} from '../src/kafka/record.ts';
import { deadTopicName, topicName } from '../src/kafka/topics.ts';
import { WaitingMessages } from '../src/kafka/waiting.ts';

const REMEMBER = 50;

interface Stored {
  readonly raw: RawRecord;
  readonly time: number;
  readonly sequence: bigint;
}

function apply(waiting: WaitingMessages, { raw, time, sequence }: Stored): void {
  const record = decodeRecord(raw);
  if (record?.kind === 'message') waiting.add(record, sequence, time);
  if (record?.kind === 'done') waiting.remove(record, time);
}

/** What a topic holds after compaction: the last record of each key, and no old removals. */
function compacted(log: readonly Stored[]): Stored[] {
  const last = new Map(log.map((stored) => [String(stored.raw.key), stored]));
  const now = log.at(-1)?.time ?? 0;
  return [...last.values()]
    .filter(({ raw, time }) => raw.value !== null || time + 3 * REMEMBER > now)
    .sort((a, b) => Number(a.sequence - b.sequence));
}

async function content(waiting: WaitingMessages): Promise<unknown> {
  const claimed = [];
  for (;;) {
    const more = await waiting.claim({ consumer: 'c', limit: 100, leaseMs: 1 }, () => 0);
    if (more.length === 0) break;
    claimed.push(...more);
  }
  const byKey: Record<string, string[]> = {};
  for (const { key, id, message } of claimed) {
    byKey[key] ??= [];
    byKey[key].push(`${id} ${Buffer.from(message)}`);
  }
  return { byKey, depth: waiting.depth, bytes: waiting.bytes };
}

describe('messages that wait', () => {
  it('are not kept by a reader that never claims, once they were acknowledged', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const waiting = new WaitingMessages(REMEMBER);
    const left: WeakRef<Uint8Array>[] = [];
    const add = (at: number) => {
      const record = decodeRecord(messageRecord('key', `id-${at}`, new Uint8Array(1_000)));
      if (record?.kind !== 'message') throw new Error('no message');
      waiting.add(record, BigInt(at), at);
      return record;
    };
    // One always waits, so that the key never becomes empty.
    for (let at = 1, last = add(0); at < 500; at++) {
      const next = add(at);
      left.push(new WeakRef(last.message));
      waiting.remove({ kind: 'done', record: last.record, id: last.id, acknowledged: true }, at);
      last = next;
    }
    await new Promise((resolve) => setTimeout(resolve, 0));
    collect();
    expect(left.filter((message) => message.deref() !== undefined).length).toBeLessThan(5);
    expect(waiting.depth).toBe(1);
  });

  it('are the same for every reader, whenever it begins and however the topic was compacted', async () => {
    const step = fc.oneof(
      fc.record({ publish: fc.nat(5), key: fc.constantFrom('a', 'b') }),
      fc.record({ acknowledge: fc.nat(5) }),
      fc.record({ pass: fc.integer({ min: 1, max: 2 * REMEMBER }) }),
      fc.constant({ claim: true }),
      fc.constant({ clean: true }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), fc.nat(60), async (steps, cleaned) => {
        const live = new WaitingMessages(REMEMBER);
        const log: Stored[] = [];
        let time = 1_000;
        const append = (raw: RawRecord) => {
          const stored = { raw, time, sequence: BigInt(log.length) };
          log.push(stored);
          apply(live, stored);
        };
        for (const [n, each] of steps.entries()) {
          if ('publish' in each) append(messageRecord(each.key, `m${each.publish}`, utf8(`${n}`)));
          if ('acknowledge' in each) {
            const record = live.recordOf(`m${each.acknowledge}`);
            if (record !== undefined) append(acknowledgedRecord(record));
          }
          if ('pass' in each) time += each.pass;
          if ('claim' in each) await live.claim({ consumer: 'x', limit: 3, leaseMs: 1 }, () => 0);
          if ('clean' in each) for (const record of live.repeated) append(repeatedRecord(record));
        }
        await live.claim({ consumer: 'x', limit: 0, leaseMs: 1 }, () => 1); // ends the leases
        const partly = [...compacted(log.slice(0, cleaned)), ...log.slice(cleaned)];
        const readers = [log, compacted(log), partly].map((records) => {
          const reader = new WaitingMessages(REMEMBER);
          for (const stored of records) apply(reader, stored);
          return reader;
        });
        const expected = await content(live);
        for (const reader of readers) expect(await content(reader)).toEqual(expected);
      }),
      { numRuns: 300 },
    );
  });

  it('are one message, in its first place, when a publication was stored several times', async () => {
    const waiting = new WaitingMessages(REMEMBER);
    const copies = [
      messageRecord('k', 'a', utf8('1')),
      messageRecord('k', 'b', utf8('2')),
      messageRecord('k', 'a', utf8('1')),
    ];
    for (const [i, raw] of copies.entries()) apply(waiting, { raw, time: 0, sequence: BigInt(i) });
    expect(waiting.depth).toBe(2);
    expect(waiting.repeated).toHaveLength(1);
    const claimed = await waiting.claim({ consumer: 'c', limit: 9, leaseMs: 1 }, () => 0);
    expect(claimed.map(({ id }) => id)).toEqual(['a', 'b']);
    for (const record of waiting.repeated) apply(waiting, { raw: repeatedRecord(record), time: 0, sequence: 3n });
    expect([waiting.depth, waiting.repeated.length, waiting.knows('a', 0)]).toEqual([2, 0, true]);
  });
});

describe('records of a queue', () => {
  it('are read as they were written', () => {
    fc.assert(
      fc.property(
        fc.string({ minLength: 1, maxLength: 20, unit: 'binary' }),
        fc.string({ minLength: 1, maxLength: 40, unit: 'binary' }),
        fc.uint8Array(),
        (key, id, message) => {
          const record = decodeRecord(messageRecord(key, id, message));
          expect(record).toMatchObject({ kind: 'message', key, id, message: new Uint8Array(message) });
          if (record?.kind !== 'message') return;
          const done = { kind: 'done', id, record: record.record };
          expect(decodeRecord(acknowledgedRecord(record.record))).toEqual({ ...done, acknowledged: true });
          expect(decodeRecord(repeatedRecord(record.record))).toEqual({ ...done, acknowledged: false });
        },
      ),
      { numRuns: 30 },
    );
    const token = 'ab'.repeat(16);
    expect(decodeRecord(markRecord('owner', token))).toEqual({ kind: 'owner', token });
  });

  it('are refused, never misread, if somebody else wrote them', () => {
    fc.assert(
      fc.property(fc.option(fc.uint8Array()), fc.option(fc.uint8Array()), (key, value) => {
        const record = decodeRecord({ key, value });
        if (record?.kind !== 'message') return;
        expect(record.id.length).toBeGreaterThan(0);
        expect(record.key.length).toBeGreaterThan(0);
      }),
    );
    for (const [key, value] of [
      [null, utf8('x')],
      [Uint8Array.of(), null],
      [Uint8Array.of(0, 0x6f), Uint8Array.of(1)],
      [Uint8Array.of(0, 0x6f), null],
      [Uint8Array.of(1, 0xff, 0, 0, 0, 0, 0, 0, 0, 0), Uint8Array.of(1, 0x61)],
      [Uint8Array.of(1, 0x61, 0, 0, 0, 0, 0, 0, 0, 0), Uint8Array.of(2, 0x61)],
      [Uint8Array.of(1, 0x61, 0, 0, 0, 0, 0, 0, 0, 0), Uint8Array.of(0)],
    ] as const)
      expect(decodeRecord({ key, value })).toBeUndefined();
  });
});

it('gives different topics different names that Kafka takes', () => {
  const names = ['t', 'T', 'é', 'e', 't.t', 'dead_letters', '_dA', 'a b', 'é'.repeat(50), '-x'];
  const topics = names.map((name) => topicName('millrace', name));
  expect(new Set([...topics, deadTopicName('millrace')]).size).toBe(names.length + 1);
  for (const topic of topics) expect(topic).toMatch(/^[a-zA-Z0-9._-]{1,249}$/);
});

it('gives errors of the client a code', () => {
  const nested = (inner: Error) => Object.assign(new Error('retries exceeded', { cause: inner }), { retriable: false });
  const typed = (type: string, retriable: boolean) => Object.assign(new Error(type), { type, retriable });
  expect(kafkaError(nested(typed('TOPIC_AUTHORIZATION_FAILED', false))).code).toBe('E_CONFIG');
  expect(kafkaError(nested(new Error('unable to verify the first certificate'))).code).toBe('E_CONFIG');
  expect(kafkaError(nested(typed('NOT_ENOUGH_REPLICAS', true))).code).toBe('E_UNAVAILABLE');
  expect(kafkaError(nested(typed('REQUEST_TIMED_OUT', true))).code).toBe('E_TIMEOUT');
  expect(kafkaError(Object.assign(new Error(''), { errors: [typed('INVALID_REPLICATION_FACTOR', false)] })).code).toBe(
    'E_CONFIG',
  );
  expect(kafkaError('x').code).toBe('E_STORE');
});
