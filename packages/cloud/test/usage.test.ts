import type { UsageQuery } from '@millrace/api';
import { type Bytes, copyBytes, fromBase64, systemClock, systemRandom } from '@millrace/base';
import { type generateP256Key, keyName } from '@millrace/identity';
import { decodeOpening } from '@millrace/ledger';
import {
  compareUsage,
  LicenceUsage,
  type Machine,
  objectId,
  type Price,
  sha256,
  signMachineDocument,
  type UsageEvent,
  type UsageRecord,
} from '@millrace/protocol';
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { openingsPage } from '../src/control/ledger-openings.ts';
import { callHome } from '../src/control/permits.ts';
import { takeReport } from '../src/control/reports.ts';
import { UsageReader } from '../src/control/usage.ts';
import { type Actor, userActor } from '../src/node/policy.ts';
import { fixtureWithMachine, type UserName } from './control-fixture.ts';
import { signPermitRequest } from './permit-request.ts';

const HOUR = 3_600_000;
let fixture: Awaited<ReturnType<typeof fixtureWithMachine>>['fixture'];
let key: ReturnType<typeof generateP256Key>;
let machine: Machine;
let design: string;
let usage: UsageReader;
let passed = 0;
const now = () => systemClock.now() + passed;

async function begin(): Promise<void> {
  passed = 0;
  ({ fixture, key, machine, design } = await fixtureWithMachine(now));
  usage = new UsageReader(fixture.context);
}
beforeEach(begin);

const eachObject: Price = { per: 'object', currency: 'EUR', amount: 1_250 };
/** Its first period ends in 10 minutes. */
const daily = (): Price => ({
  ...{ per: 'period', currency: 'EUR', amount: 9_000, unit: 'day', length: 1, quota: 1, overage: 300 },
  start: systemClock.now() - 24 * HOUR + 600_000,
});
const grant = (price: Price | undefined, terms = {}) =>
  fixture.grant(design, [machine], {
    objects: 20,
    terms: { ...(price && { price }), notBefore: systemClock.now() - 24 * HOUR, ...terms },
  });

/** Permits an object. @returns its run */
async function make(licence: string, who: UserName = 'holder'): Promise<Bytes> {
  const print = await fixture.print(licence, machine, who);
  const run = systemRandom(16);
  const request = { print, issued: now(), run };
  await callHome(
    fixture.context,
    machine.machine,
    await signPermitRequest(key, fixture.context.directory.installation, request),
  );
  return run;
}

async function fail(object: string, run: Bytes): Promise<void> {
  const report = await signMachineDocument(key, fixture.context.directory.installation, {
    ...{ type: 'report', id: systemRandom(16), issued: now(), expires: now() + 60_000, object, run, event: 'failed' },
    facts: { serial: 'SN-1', material: 'PLA', segments: 1 },
  });
  await takeReport(fixture.context, machine.machine, report);
}

async function credit(object: string): Promise<void> {
  await fixture.submit('holder', { type: 'case.report', object, reason: 'adhesion' });
  const { report } = await fixture.context.records.cases.require(object);
  await fixture.submit('owner', {
    ...{ type: 'case.decide', object, credit: true },
    report: sha256(copyBytes(report.transaction)),
  });
}

const actor = (who: UserName): Actor => userActor(fixture.context.directory, keyName(fixture.keys[who].publicKey));
async function recordsOf(who: UserName, query: Partial<UsageQuery> = {}): Promise<UsageRecord[]> {
  const records: UsageRecord[] = [];
  let cursor: string | undefined;
  do {
    const page = await usage.page(actor(who), { limit: 200, ...query, ...(cursor === undefined ? {} : { cursor }) });
    records.push(...page.items);
    cursor = page.next;
  } while (cursor !== undefined);
  return records;
}

/** What a party computes from the openings that control gives it. */
async function computedBy(who: UserName): Promise<UsageRecord[]> {
  const events: UsageEvent[] = [];
  let cursor: string | undefined;
  do {
    const page = await openingsPage(fixture.context, actor(who), { limit: 7, ...(cursor && { cursor }) });
    events.push(...page.items.map(({ index, opening }) => decodeOpening(fromBase64(opening), index)));
    cursor = page.next;
  } while (cursor !== undefined);
  const licensed = events.filter(({ event }) => event.type === 'licensed');
  return licensed.flatMap((first) => {
    const licence = first.event.account.slice(8);
    const own = new LicenceUsage(first, keyName(fixture.keys.owner.publicKey));
    for (const event of events) if (event.event.account.includes(licence)) own.take(event);
    return own.records(now());
  });
}

describe('usage', () => {
  it('of any history is the same for control, the owner and the holder, page by page', async () => {
    const step = fc.constantFrom('first', 'first', 'second', 'second', 'third', 'fail', 'credit', 'pass');
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 6, maxLength: 16 }),
        fc.integer({ min: 1, max: 5 }),
        async (steps, limit) => {
          await begin();
          const licences = [await grant(eachObject), await grant(daily()), await grant(undefined)];
          const made: { object: string; run: Bytes; state: 'made' | 'failed' | 'credited' }[] = [];
          const counts = new Map<string, number>();
          for (const does of steps) {
            const licence = licences[['first', 'second', 'third'].indexOf(does)];
            if (licence !== undefined) {
              const number = (counts.get(licence) ?? 0) + 1;
              counts.set(licence, number);
              made.push({ object: objectId(licence, number), run: await make(licence), state: 'made' });
            }
            const failing = made.find(({ state }) => state === 'made');
            if (does === 'fail' && failing !== undefined) {
              await fail(failing.object, failing.run);
              failing.state = 'failed';
            }
            const failed = made.find(({ state }) => state === 'failed');
            if (does === 'credit' && failed !== undefined) {
              await credit(failed.object);
              failed.state = 'credited';
            }
            if (does === 'pass') passed = 600_000;
          }
          const shown = await recordsOf('owner', { limit });
          for (const who of ['owner', 'holder'] as const) {
            expect(compareUsage(await recordsOf(who, { limit }), await computedBy(who))).toEqual([]);
            expect(await recordsOf(who)).toEqual(shown);
          }
          const charged = made.filter(
            ({ object, state }) => object.startsWith(licences[0] ?? '') && state !== 'credited',
          );
          const sum = (await recordsOf('owner', { licence: licences[0] ?? '' })).reduce(
            (all, { amount }) => all + amount,
            0,
          );
          expect(sum).toBe(charged.length * 1_250);
          expect(shown.filter(({ kind }) => kind === 'object')).toHaveLength(made.length);
          const totals = await usage.totals({});

          expect(totals.reduce((all, { amount }) => all + BigInt(amount), 0n)).toBe(
            shown.reduce((all, { amount }) => all + BigInt(amount), 0n),
          );
          expect(totals.reduce((all, { objects }) => all + objects, 0)).toBe(
            made.filter(({ state }) => state !== 'credited').length,
          );
        },
      ),
      { numRuns: 12 },
    );
  }, 120_000);

  it('is shown to owner and holder, and to nobody else', async () => {
    const licence = await grant(eachObject);
    await make(licence);
    expect(await recordsOf('owner')).toHaveLength(1);
    expect(await recordsOf('holder')).toHaveLength(1);
    for (const who of ['other', 'admin', 'approver'] as const) {
      expect(await recordsOf(who)).toEqual([]);
      expect(await recordsOf(who, { licence })).toEqual([]);
      // The place of somebody else's list.
      const cursor = `1000.${now()}.0.${Buffer.from(`${keyName(fixture.keys.owner.publicKey)}`).toString('base64url')}`;
      expect(await recordsOf(who, { cursor }).catch(({ code }) => code)).toEqual([]);
    }
    await expect(usage.page(actor('owner'), { limit: 1, cursor: 'x' })).rejects.toMatchObject({ code: 'E_INPUT' });
  });

  it('of a transferred licence: each holder’s own, all for the owner', async () => {
    const licence = await grant(eachObject, { transfer: 'alone' });
    await make(licence);
    const to = fixture.keys.other.publicKey;
    await fixture.submit('holder', { type: 'licence.transfer', licence, number: 1, to });
    await make(licence, 'other');
    expect((await recordsOf('owner')).map(({ holder }) => holder)).toEqual(
      [fixture.keys.holder, fixture.keys.other].map(({ publicKey }) => keyName(publicKey)),
    );
    expect((await recordsOf('other')).map(({ object }) => object)).toEqual([objectId(licence, 2)]);
    expect(await recordsOf('holder')).toEqual([]);
  });

  it('reads a bounded number of objects for a page, and none again for a list that begins soon after', async () => {
    for (let i = 0; i < 3; i++) await make(await grant(eachObject));
    const bounded = new UsageReader(fixture.context, { maxObjects: 2 });
    const { ledger } = fixture.context;
    const account = ledger.account.bind(ledger);
    let read = 0;
    ledger.account = (...of) => {
      if (!of[0].startsWith('licence:')) read++;
      return account(...of);
    };
    const first = await bounded.page(actor('owner'), { limit: 100 });
    expect([first.items.length, read]).toEqual([2, 2]);
    const rest = await bounded.page(actor('owner'), { limit: 100, cursor: first.next });
    expect([rest.items.length, rest.next, read]).toEqual([1, undefined, 3]);
    passed += 1_000;
    const lists = await Promise.all([1, 2].map(() => bounded.page(actor('holder'), { limit: 100 })));
    for (const list of lists) expect(list).toEqual(first);
    expect(read).toBe(3);
    passed += 20_000;
    expect((await bounded.page(actor('owner'), { limit: 100 })).at).toBeGreaterThan(first.at);
    expect(read).toBe(5);
  });

  it('shows one state of the ledger on all pages, and the span of time that was asked for', async () => {
    const licence = await grant(eachObject);
    for (let i = 0; i < 3; i++) await make(licence);
    const first = await usage.page(actor('owner'), { limit: 2 });
    await make(licence);
    const second = await usage.page(actor('owner'), { limit: 2, cursor: first.next });
    expect([...first.items, ...second.items].map(({ object }) => object)).toEqual(
      [1, 2, 3].map((number) => objectId(licence, number)),
    );
    expect(second).toMatchObject({ size: first.size, at: first.at });
    expect(second.next).toBeUndefined();
    const times = (await recordsOf('owner')).map(({ time }) => time);
    const [from = 0, to = 0] = [times[1], times[3]];
    expect(await recordsOf('owner', { from, to })).toHaveLength(
      times.filter((time) => from <= time && time < to).length,
    );
    expect(await recordsOf('owner', { from: to + 1 })).toEqual([]);
    expect(await usage.totals({ to: times[0] ?? 0 })).toEqual([]);
  });
});
