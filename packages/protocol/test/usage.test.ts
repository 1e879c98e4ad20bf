import { systemRandom, toHex } from '@millrace/base';
import { generateP256Key, generateUserKey, keyName } from '@millrace/identity';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { signPermit, signTransaction } from '../src/documents.ts';
import { objectId } from '../src/opening.ts';
import { periodAt } from '../src/prices.ts';
import { MAX_AMOUNT, type Price, type Subscription, type UsageRecord } from '../src/shapes.ts';
import { compareUsage, LicenceUsage, type UsageEvent, UsageTotals } from '../src/usage.ts';

const DAY = 86_400_000;
const START = Date.UTC(2027, 0, 31);
const installation = '00'.repeat(16);
const [holder, heir] = [generateUserKey(), generateUserKey()];
const owner = keyName(generateUserKey().publicKey);
const permitKey = generateP256Key();
const subscription: Subscription = {
  ...{ per: 'period', currency: 'EUR', amount: 90_000, unit: 'month', length: 1, start: START },
  ...{ quota: 2, overage: 700 },
};

interface Terms {
  readonly licence: string;
  readonly price: Price | undefined;
  readonly licensed: UsageEvent;
}

async function grant(price: Price | undefined): Promise<Terms> {
  const id = systemRandom(16);
  const licence = toHex(id);
  const document = await signTransaction(holder, installation, {
    ...{ type: 'licence.grant', id, issued: START, expires: START + DAY, design: licence, objects: 1_000 },
    ...{ core: new Uint8Array(32), secretHash: new Uint8Array(32), telemetryKey: permitKey.publicKey, disclose: [] },
    machines: [{ machine: licence, registration: new Uint8Array(32) }],
    ...{ materials: [], notBefore: START, notAfter: START + 200 * DAY, holder: holder.publicKey },
    ...(price && { price }),
  });
  const event = { account: `licence:${licence}`, type: 'licensed', time: START, body: {}, evidence: [document] };
  return { licence, price, licensed: { index: 0, event } };
}

/** A permit, which `issued` dates. */
async function permit(licence: string, number: number, issued: number): Promise<Uint8Array> {
  return signPermit(permitKey, installation, {
    ...{ type: 'permit', id: systemRandom(16), issued, expires: issued + 1, print: licence, licence },
    ...{ object: objectId(licence, number), number, design: licence, machine: licence },
    ...{ request: new Uint8Array(32), count: 1 },
  });
}

interface Step {
  readonly does: 'permit' | 'report' | 'credit' | 'transfer' | 'suspend' | 'reinstate' | 'other';
  /** Which of the objects so far. */
  readonly of: number;
  readonly passes: number;
}

/** What a history with these steps writes to the ledger, and what a bookkeeper would add up. */
async function play({ licence, price, licensed }: Terms, steps: readonly Step[]) {
  const events: UsageEvent[] = [];
  const objects: { name: string; issued: number; credited: boolean }[] = [];
  let time = START;
  const write = (account: string, type: string, body = {}, evidence: Uint8Array[] = []) =>
    events.push({ index: events.length + 1, event: { account, type, time, body, evidence } });
  let suspended = false;
  const suspensions: { from: number; to: number }[] = [];
  for (const { does, of, passes } of steps) {
    time += passes;
    const object = objects[of % Math.max(1, objects.length)];
    if (does === 'permit') {
      const name = objectId(licence, objects.length + 1);
      // The ledger may be written after the permit, in the next period.
      const issued = Math.max(START, time - of * 3_600_000);
      write(name, 'ordered');
      write(name, 'permitted', {}, [await permit(licence, objects.length + 1, issued)]);
      objects.push({ name, issued, credited: false });
    }
    if (does === 'report' && object?.credited === false) write(object.name, of % 2 ? 'completed' : 'failed');
    if (does === 'credit' && object?.credited === false) {
      write(`licence:${licence}`, 'credited', { object: object.name });
      write(object.name, 'credited');
      object.credited = true;
    }
    if (does === 'transfer') write(`licence:${licence}`, 'transferred', { holder: keyName(heir.publicKey) });
    if (does === 'suspend' && !suspended) {
      write(`licence:${licence}`, 'inspected', { fact: 'suspended' });
      suspensions.push({ from: time, to: Number.POSITIVE_INFINITY });
      suspended = true;
    }
    if (does === 'reinstate' && suspended) {
      write(`licence:${licence}`, 'inspected', { fact: 'reinstated' });
      suspensions.splice(-1, 1, { from: suspensions.at(-1)?.from ?? 0, to: time });
      suspended = false;
    }
    if (does === 'other') write(objectId('f'.repeat(32), 1), 'inspected');
  }
  return { events, objects, suspensions, now: time + 1, price, licensed };
}

/** Sums without a look at single records. */
function bookkeeper({ objects, suspensions, now, price }: Awaited<ReturnType<typeof play>>): bigint {
  const kept = objects.filter(({ credited }) => !credited);
  if (price === undefined) return 0n;
  if (price.per === 'object') return BigInt(price.amount) * BigInt(kept.length);
  let sum = 0n;
  for (let period = periodAt(price, price.start); period !== undefined && period.from <= now; ) {
    const { from, to } = period;
    const closed = suspensions.some((each) => each.from <= from && from < each.to);
    const used = kept.filter(({ issued }) => from <= issued && issued < to).length;
    sum += BigInt(closed ? 0 : price.amount) + BigInt(price.overage ?? 0) * BigInt(Math.max(0, used - price.quota));
    period = periodAt(price, to);
  }
  return sum;
}

const sumOf = (records: readonly UsageRecord[]) => records.reduce((sum, { amount }) => sum + BigInt(amount), 0n);

function compute(licensed: UsageEvent, events: readonly UsageEvent[], now: number): UsageRecord[] {
  const usage = new LicenceUsage(licensed, owner);
  for (const event of events) usage.take(event);
  return usage.records(now);
}

describe('usage records of any history', () => {
  const prices: (Price | undefined)[] = [
    undefined,
    { per: 'object', currency: 'JPY', amount: 1_250 },
    subscription,
    { ...subscription, unit: 'day', length: 10, quota: 1, overage: MAX_AMOUNT, amount: MAX_AMOUNT },
  ];
  let granted: Terms[];
  beforeAll(async () => {
    granted = await Promise.all(prices.map(grant));
  });
  const steps = fc.array(
    fc.record({
      does: fc.constantFrom<Step['does']>(
        ...(['permit', 'permit', 'permit', 'report', 'credit', 'transfer', 'suspend', 'reinstate', 'other'] as const),
      ),
      of: fc.nat({ max: 12 }),
      passes: fc.nat({ max: 12 * DAY }),
    }),
    { maxLength: 24 },
  );

  it('add up to what a bookkeeper finds; the order of arrival makes no difference; what was billed stays', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: 3 }), steps, fc.nat({ max: 24 }), async (which, history, cut) => {
        const terms = granted[which] as Terms;
        const played = await play(terms, history);
        const { events, objects, now, licensed } = played;
        const records = compute(licensed, events, now);
        expect(sumOf(records)).toBe(bookkeeper(played));
        expect(compareUsage(compute(licensed, [...events].reverse(), now), records)).toEqual([]);
        // Every record of an object or a credit is of exactly one entry.
        const entries = records.flatMap(({ index }) => index ?? []);
        expect(new Set(entries).size).toBe(entries.length);
        expect(entries).toHaveLength(objects.length + objects.filter(({ credited }) => credited).length);
        // A bill is never changed: later events only add records, apart from outcomes.
        const earlier = events.slice(0, cut);
        const until = earlier.at(-1)?.event.time ?? START;
        const bill = compute(licensed, earlier, until).map(({ outcome, ...record }) => record);
        const later = records.map(({ outcome, ...record }) => record);
        for (const record of bill) expect(later).toContainEqual(record);
        // Any two spans of time add up to the whole.
        const [before, after] = [
          records.filter(({ time }) => time < until),
          records.filter(({ time }) => time >= until),
        ];
        expect(sumOf(before) + sumOf(after)).toBe(sumOf(records));
        const totals = new UsageTotals(({ licence, period }) => ({ licence, period })).add(records).list();
        expect(totals.reduce((sum, { amount }) => sum + amount, 0n)).toBe(sumOf(records));
      }),
      { numRuns: 150 },
    );
  }, 60_000);

  it('name the holder of that time, the place in the period and what became of the object', async () => {
    const { events, licensed, now } = await play(granted[2] as Terms, [
      { does: 'permit', of: 0, passes: 0 },
      { does: 'permit', of: 0, passes: 1 },
      { does: 'report', of: 0, passes: 1 },
      { does: 'transfer', of: 0, passes: 1 },
      { does: 'permit', of: 0, passes: 1 },
      { does: 'credit', of: 0, passes: 1 },
      { does: 'permit', of: 0, passes: 1 },
      { does: 'permit', of: 0, passes: 28 * DAY },
    ]);
    const [former, present] = [holder, heir].map(({ publicKey }) => keyName(publicKey));
    const short = compute(licensed, events, now).map((record) => [
      ...[record.kind, record.holder === former ? 'former' : record.holder === present ? 'present' : 'nobody'],
      ...[record.period?.number, record.place, record.outcome, record.amount],
    ]);
    expect(short).toEqual([
      ['period', 'former', 1, undefined, undefined, 90_000],
      ['object', 'former', 1, 1, 'failed', 0],
      ['object', 'former', 1, 2, 'permitted', 0],
      ['object', 'present', 1, 3, 'permitted', 700],
      ['credit', 'present', 1, 3, undefined, -700],
      ['object', 'present', 1, 3, 'permitted', 700],
      ['period', 'present', 2, undefined, undefined, 90_000],
      ['object', 'present', 2, 1, 'permitted', 0],
    ]);
  });
});

describe('a comparison of records', () => {
  it('finds one that is added, left out, repeated or changed in any field', async () => {
    const { events, licensed, now } = await play(await grant(subscription), [
      ...[0, 1, 2].map((of) => ({ does: 'permit' as const, of, passes: 5 * 3_600_000 })),
      { does: 'credit', of: 0, passes: 1 },
    ]);
    const records = compute(licensed, events, now);
    expect(compareUsage([...records].reverse(), records)).toEqual([]);
    for (const [i, record] of records.entries()) {
      expect(compareUsage(records.toSpliced(i, 1), records)).toMatchObject([{ shown: undefined, computed: record }]);
      expect(compareUsage([...records, record], records)).toMatchObject([{ shown: record, computed: undefined }]);
      for (const field of Object.keys(record) as (keyof UsageRecord)[]) {
        const value = record[field];
        const other = { ...record, [field]: typeof value === 'number' ? value + 1 : 'other' } as UsageRecord;
        const missing = { ...record, [field]: undefined } as UsageRecord;
        for (const changed of [other, missing])
          expect(compareUsage(records.with(i, changed), records), field).not.toEqual([]);
      }
    }
  });
});
