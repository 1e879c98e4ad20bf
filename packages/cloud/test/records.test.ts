import { MemoryRecords } from '@millrace/stores';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { forgetSeen, openRecords, seenRecord } from '../src/control/records.ts';
import { Table } from '../src/node/table.ts';

it('keeps a transaction id for as long as its document could be accepted, and a day more', async () => {
  const { seen } = openRecords(new MemoryRecords());
  const expires = 1_700_000_000_000;
  await seen.create('aa', seenRecord({ type: 'print.request', expires }));
  await seen.create('bb', seenRecord({ type: 'print.request', expires: expires + 3_600_000 }));
  const accepted = expires + 65 * 60_000; // the latest time, with clock tolerance
  await forgetSeen(seen, accepted + 86_400_000);
  expect(await seen.get('aa')).toBeDefined();
  await forgetSeen(seen, accepted + 86_400_001);
  expect(await seen.get('aa')).toBeUndefined();
  expect(await seen.get('bb')).toBeDefined();
});

it('reads every change of a record that it has kept, and decodes an unchanged one once', async () => {
  const store = new MemoryRecords();
  let decoded = 0;
  const schema = z.strictObject({ text: z.string() }).refine(() => ++decoded > 0);
  const indexes = { text: ({ text }: { text: string }) => [{ group: text }] };
  const [own, other] = [0, 1].map(() => new Table(store, 'note', schema, { indexes, keepsRecent: true }));
  if (own === undefined || other === undefined) throw new Error('no tables');
  await own.create('a', { text: 'one' });
  const after = decoded;
  expect(await own.get('a')).toEqual({ text: 'one' });
  expect(await own.get('a')).toBe(await own.get('a'));
  expect(decoded).toBe(after); // its index has decoded it
  await other.put('a', { text: 'two' });
  expect(await own.get('a')).toEqual({ text: 'two' });
  await other.update('a', ({ text }) => ({ text: `${text}!` }));
  expect(await own.update('a', ({ text }) => ({ text: `${text}?` }))).toEqual({ text: 'two!?' });
  await other.remove('a');
  expect(await own.get('a')).toBeUndefined();
  expect((await own.page({ limit: 9 })).records).toEqual([]);
  // The oldest of many are decoded again.
  for (let i = 0; i < 300; i++) await own.create(`many-${i}`, { text: 'y' });
  const many = decoded;
  expect(await own.get('many-299')).toEqual({ text: 'y' });
  expect(decoded).toBe(many);
  expect(await own.get('many-0')).toEqual({ text: 'y' });
  expect(decoded).toBe(many + 1);
});
