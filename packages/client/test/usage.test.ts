import { copyBytes, decodeCbor, encodeCbor, systemClock, systemRandom, toBase64, toHex } from '@millrace/base';
import { generateUserKey, keyName, parseSign1 } from '@millrace/identity';
import type { EventRequest, Ledger } from '@millrace/ledger';
import { type Directory, LicenceUsage, type Price, type TransactionOf, type UsageRecord } from '@millrace/protocol';

import { INSTALLATION, logKeyOf, logOf, makeKeys, makeStory, type Story } from '@millrace/testkit/client/certified';
import { codeOf } from '@millrace/testkit/client/helpers';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Api, createMemoryStorage, type Session } from '../src/index.ts';
import { checkUsage } from '../src/usage.ts';
import { eventsOf, mapWithout } from './logged-map.ts';

// What a hostile control can show of usage, and what the checks of owner and holder find. The log's key is control's.

const keys = makeKeys();
const HOUR = 3_600_000;
/** Of all documents of the stories. */
const DAY = Date.UTC(2026, 10, 28);
const now = DAY + HOUR;
const id = systemRandom(16);
const licence = toHex(id);
const price: Price = {
  ...{ per: 'period', currency: 'EUR', amount: 9_000, unit: 'day', length: 1, quota: 1, overage: 300 },
  start: DAY - 12 * HOUR,
};
const grant = { id, price, objects: 3, issued: DAY, expires: DAY + HOUR };
let stories: Story[];
let events: EventRequest[];
beforeAll(async () => {
  stories = [];
  for (const number of [1, 2, 3]) stories.push(await makeStory(keys, { licence: grant, number }));
  // The first story has the machine and the licence.
  events = stories.flatMap((story, i) => story.events.slice(i === 0 ? 0 : 2));
});

interface Shown {
  readonly records?: (honest: readonly UsageRecord[]) => UsageRecord[];
  /** Entries that control does not open. */
  readonly hides?: (account: string) => boolean;
  readonly size?: number;
  readonly at?: number;
}

/** A user for whom this control computes usage records, and shows what it likes. */
function userOf(who: 'owner' | 'holder', ledger: Ledger, storage = createMemoryStorage()) {
  const directory = {
    ...{ installation: INSTALLATION, adminKey: toHex(keys.admin.publicKey), logKey: logKeyOf(keys) },
  } as Directory;
  return async (shown: Shown = {}) => {
    const { hides = () => false, size = ledger.size, at = now } = shown;
    const all = await eventsOf(ledger);
    const licensed = all.find(({ event }) => event.type === 'licensed');
    const usage = licensed && new LicenceUsage(licensed, keyName(keys.owner.publicKey));
    for (const logged of all) if (logged.index < size && !hides(logged.event.account)) usage?.take(logged);
    const honest = usage?.records(at) ?? [];
    const api: Partial<Api> = {
      key: async (key) => ({ key, name: who, credential: toBase64(stories[0]?.credentials[who] ?? new Uint8Array()) }),
      checkpoint: async () => ledger.checkpoint(),
      tile: (path) => ledger.tile(path),
      openings: async (cursor) => ({
        items: (await eventsOf(ledger))
          .filter(({ event, index }) => !hides(event.account) && index >= Number(cursor ?? 0))
          .map(({ index, opening }) => ({ index, opening: toBase64(opening) })),
      }),
      mapProofs: ({ accounts }) => mapWithout(hides, accounts, ledger),
      usage: async () => ({ records: shown.records?.(honest) ?? [...honest], size, at }),
    };
    const session = {
      api: api as Api,
      directory,
      storage,
      clock: { ...systemClock, now: () => now },
      signer: keys[who],
    } as Partial<Session>;
    return checkUsage(session as Session, {}, () => undefined);
  };
}

const sides = ['owner', 'holder'] as const;

describe.each(sides)('the check of the %s', (who) => {
  let ledger: Ledger;
  beforeAll(async () => {
    ledger = await logOf(keys, events);
    await mapWithout(() => false, [], ledger);
  });

  it('finds no difference in honest records, and computes the sum itself', async () => {
    const check = await userOf(who, ledger)();
    expect(check).toMatchObject({ differences: [], hidden: [], gaps: [], uncertain: [] });
    expect(check.records.filter(({ kind }) => kind === 'object').map(({ amount }) => amount)).toEqual([0, 300, 300]);
    expect(check.records.filter(({ kind }) => kind === 'period').map(({ amount }) => amount)).toEqual([9_000]);
  });

  it('finds a record that control adds, changes, repeats or leaves out', async () => {
    const user = userOf(who, ledger);
    const changes: [string, (honest: readonly UsageRecord[]) => UsageRecord[]][] = [
      ['an object that was never made', (all) => [...all, { ...(all.at(-1) as UsageRecord), object: `${licence}-9` }]],
      [
        'a period that has not begun',
        (all) => [...all, { ...(all[0] as UsageRecord), period: { number: 2, from: now, to: now } }],
      ],
      ['a higher price', (all) => all.map((record) => ({ ...record, amount: record.amount + 1 }))],
      ['another holder', (all) => all.map((record) => ({ ...record, holder: record.owner }))],
      ['a record twice', (all) => [...all, all.at(-1) as UsageRecord]],
      ['nothing', () => []],
      ['all but the last', (all) => all.slice(0, -1)],
    ];
    for (const [what, records] of changes) expect((await user({ records })).differences, what).not.toEqual([]);
  });

  it('finds an object that control hides from the records and in the ledger', async () => {
    const user = userOf(who, ledger);
    const hides = (number: number) => (account: string) => account === `${licence}-${number}`;
    expect((await user({ hides: hides(2) })).gaps).toEqual([`${licence}-2`]);
    // The last one leaves no gap. It is missed once it was seen.
    expect(await user({ hides: hides(3) })).toMatchObject({ differences: [], gaps: [], hidden: [] });
    await user();
    expect((await user({ hides: hides(3) })).hidden).toEqual([{ licence, objects: 1 }]);
    expect((await user({ hides: hides(3) })).hidden).toHaveLength(1); // again: what was seen stays known
    expect((await user()).hidden).toEqual([]);
  });

  it('refuses records of an earlier state of the ledger, and of a state that is not signed', async () => {
    const user = userOf(who, ledger);
    for (const size of [ledger.size - 1, ledger.size + 1])
      expect(await codeOf(user({ size }))).toBe('E_LEDGER_TRUNCATED');
    for (const at of [now + 2 * HOUR, now - 2 * HOUR]) expect(await codeOf(user({ at }))).toBe('E_CLOCK');
  });

  it('refuses objects that nobody ordered, although control logs them', async () => {
    const stranger = generateUserKey();
    const forged = await makeStory({ ...keys, holder: stranger }, { licence: grant, number: 4 });
    const ordered = forged.events.slice(2);
    // The credential names the stranger, who is no holder of this licence.
    expect(await codeOf(userOf(who, await logOf(keys, [...events, ...ordered]))())).toBe('E_EVIDENCE');
  });

  it('refuses a licence with another price than its owner signed, also without objects', async () => {
    const [machine, licensed] = events as [EventRequest, EventRequest];
    const [document = new Uint8Array(), ...others] = licensed.evidence ?? [];
    const { payload } = parseSign1(document);
    const terms = decodeCbor(payload, 'licence') as TransactionOf<'licence.grant'>;
    const dearer = encodeCbor({ ...terms, price: { ...price, amount: 9_001 } } as never);
    const changed = copyBytes(document);
    changed.set(dearer, Buffer.from(changed).indexOf(payload));
    for (const rest of [[], events.slice(2)]) {
      const log = await logOf(keys, [machine, { ...licensed, evidence: [changed, ...others] }, ...rest]);
      expect(await codeOf(userOf(who, log)())).toBe('E_EVIDENCE');
    }
  });
});
