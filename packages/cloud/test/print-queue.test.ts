import { noMetrics, silentLogger, systemClock, systemRandom, toHex } from '@millrace/base';
import { MemoryRecords } from '@millrace/stores';
import { expect, it } from 'vitest';
import { DamagedRecords } from '../src/control/damaged.ts';
import { PrintQueue } from '../src/control/print-queue.ts';
import { openRecords, type PrintRecord } from '../src/control/records.ts';

const id = () => toHex(systemRandom(16));
const never = new AbortController().signal;

function printOf(machine: string, created: number): PrintRecord {
  const documents = { transaction: new Uint8Array(1), credential: new Uint8Array(1) };
  const common = { licence: id(), design: id(), owner: id(), holder: id(), ...documents };
  return { print: id(), machine, created, startBy: 4_000_000_000_000, state: 'queued', ...common };
}

it('gives a machine its oldest queued print, also after a restart, and wakes it for a new one', async () => {
  const records = openRecords(new MemoryRecords());
  const context = { records, damaged: new DamagedRecords(silentLogger, noMetrics) };
  const [one, other] = [id(), id()];
  const prints = [printOf(one, 3), printOf(one, 1), printOf(other, 0), printOf(one, 2)];
  for (const print of prints) await records.prints.create(print.print, print);

  const board = new PrintQueue(systemClock);
  const next = (machine: string, waitMs = 0) => board.next(context, machine, waitMs, never);
  const oldest = await next(one);
  expect(oldest?.created).toBe(1);
  await records.prints.update(oldest?.print ?? '', (current) => ({ ...current, state: 'refused' }));
  expect((await next(one))?.created).toBe(2);
  expect((await next(other))?.created).toBe(0);
  const nobody = id();
  expect(await next(nobody)).toBeUndefined();

  const waiting = next(nobody, 60_000);
  const late = printOf(nobody, 9);
  await records.prints.create(late.print, late);
  board.add(late);
  expect((await waiting)?.print).toBe(late.print);
});

it('keeps one call per machine: a new call ends the previous one, and no other machine’s', async () => {
  const records = openRecords(new MemoryRecords());
  const context = { records, damaged: new DamagedRecords(silentLogger, noMetrics) };
  const board = new PrintQueue(systemClock);
  const [one, other] = [id(), id()];
  const ended: string[] = [];
  const ask = (name: string, machine: string) =>
    board.next(context, machine, 60_000, never).then((print) => {
      ended.push(name);
      return print;
    });
  void ask('first', one);
  const apart = ask('apart', other);
  const second = ask('second', one);
  await expect.poll(() => ended).toEqual(['first']);
  for (const machine of [one, other]) {
    const print = printOf(machine, 1);
    await records.prints.create(print.print, print);
    board.add(print);
  }
  expect((await second)?.machine).toBe(one);
  expect((await apart)?.machine).toBe(other);
});
