import { systemRandom } from '@millrace/base';
import { type AccountHead, followAccount, type Ledger, openLedger } from '@millrace/ledger';
import { MemoryStore, openTestLedger, origin, signer, stepClock, story } from '@millrace/testkit/ledger/helpers';
import { expect, it } from 'vitest';
import { MapAudit } from '../src/audit-map.ts';

async function auditMap(ledger: Ledger): Promise<number | undefined> {
  const audit = new MapAudit();
  const accounts = new Map<string, AccountHead>();
  for await (const logged of ledger.events(0)) {
    const { account } = logged.event;
    audit.take(logged, accounts.get(account));
    accounts.set(account, followAccount(accounts.get(account), logged));
  }
  return audit.verify(accounts);
}

it('recomputes the newest root of the account map, whatever came after it', async () => {
  const ledger = await openLedger({
    store: new MemoryStore(),
    signer,
    origin,
    clock: stepClock(),
    map: { changes: 1_000 },
  });
  expect(await auditMap(ledger)).toBeUndefined();
  await ledger.appendMany(story());
  await ledger.logMap();
  expect(await auditMap(ledger)).toBe(9);
  await ledger.appendMany(story('object-2').slice(2));
  expect(await auditMap(ledger)).toBe(9);
  const { index } = await ledger.logMap();
  expect(await auditMap(ledger)).toBe(index);
});

it('detects a root that leaves out an event', async () => {
  const honest = await openLedger({
    store: new MemoryStore(),
    signer,
    origin,
    clock: stepClock(),
    map: { changes: 99 },
  });
  await honest.appendMany(story().slice(0, 8));
  const { event } = await honest.logMap();
  // The holder of the log's key logs the root of the map before the last event.
  const hostile = await openTestLedger(new MemoryStore());
  await hostile.appendMany(story());
  await hostile.append({ account: 'map', type: 'mapped', actor: origin, body: event.body, eventId: 'map/9' });
  await expect(auditMap(hostile)).rejects.toMatchObject({ code: 'E_LEDGER_ENTRY' });
  const invented = await openTestLedger(new MemoryStore());
  await invented.appendMany(story());
  const body = { root: systemRandom(32), salt: systemRandom(32) };
  await invented.append({ account: 'map', type: 'mapped', actor: origin, body, eventId: 'map/9' });
  await expect(auditMap(invented)).rejects.toMatchObject({ code: 'E_LEDGER_ENTRY' });
});
