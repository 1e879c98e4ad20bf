import { MemoryRecords } from '@millrace/stores';
import { expect, it } from 'vitest';
import { forgetSeen, openRecords, seenRecord } from '../src/control/records.ts';

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
