import { MemoryMetrics, noMetrics } from '@millrace/base';
import kafkajs from 'kafkajs';
import { expect, it } from 'vitest';
import { Appender } from '../src/kafka/appender.ts';

/** Producers of which each does what its turn says for a topic. */
function kafkaOf(send: (turn: number, topic: string) => Promise<number>) {
  let made = 0;
  const disconnected: number[] = [];
  const producer = () => {
    const turn = made++;
    return {
      connect: async () => undefined,
      disconnect: async () => void disconnected.push(turn),
      send: async ({ topic }: { topic: string }) => [{ baseOffset: String(await send(turn, topic)) }],
    };
  };
  return { kafka: { producer } as unknown as kafkajs.Kafka, made: () => made, disconnected };
}

const silence = () =>
  Promise.reject(
    new kafkajs.KafkaJSRequestTimeoutError('no answer', {
      broker: 'b',
      clientId: 'c',
      correlationId: 1,
      createdAt: 0,
      sentAt: 0,
      pendingDuration: 0,
    }),
  );
const options = { patienceMs: 10_000, requestMs: 1_000 };
const record = () => ({ key: null, value: null });

it('replaces a producer whose request was not answered: it would ask the same broker again', async () => {
  const { kafka, made, disconnected } = kafkaOf((turn) => (turn === 0 ? silence() : Promise.resolve(7)));
  const metrics = new MemoryMetrics();
  const appender = new Appender(kafka, options, metrics);
  expect(await appender.append('a', 0, record)).toBe(7n);
  expect(made()).toBe(2);
  expect(disconnected).toEqual([0]);
  await appender.close();
});

it('replaces it once if requests of several topics were not answered', async () => {
  const { kafka, made } = kafkaOf((turn) => (turn === 0 ? silence() : Promise.resolve(7)));
  const appender = new Appender(kafka, options, noMetrics);
  expect(await Promise.all(['a', 'b', 'c', 'd'].map((topic) => appender.append(topic, 0, record)))).toEqual([
    ...[7n, 7n, 7n, 7n],
  ]);
  expect(made()).toBe(2);
  await appender.close();
});

it('keeps a producer that was refused, up to the third time in a row', async () => {
  const refusal = () =>
    Promise.reject(
      new kafkajs.KafkaJSProtocolError({
        type: 'NOT_LEADER_FOR_PARTITION',
        message: 'not the leader',
        code: 6,
        retriable: true,
      } as never),
    );
  let sent = 0;
  const { kafka, made } = kafkaOf((turn) =>
    ++sent <= 2 || (turn === 0 && sent > 3) ? refusal() : Promise.resolve(sent),
  );
  const appender = new Appender(kafka, options, noMetrics);
  expect(await appender.append('a', 0, record)).toBe(3n);
  expect(made()).toBe(1);
  await appender.append('a', 0, record);
  expect(made()).toBe(2);
  await appender.close();
});
