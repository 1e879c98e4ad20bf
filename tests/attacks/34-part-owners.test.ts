import { systemClock, systemRandom } from '@millrace/base';
import { checkCertificate } from '@millrace/client';
import { generateUserKey } from '@millrace/identity';
import {
  decodeCertificate,
  decodeOpening,
  type EventRequest,
  ed25519NoteSigner,
  encodeCertificate,
  exportCertificate,
  openLedger,
} from '@millrace/ledger';
import { MemoryLog } from '@millrace/stores';
import { INSTALLATION, logKeyOf, makeKeys, makeStory } from '@millrace/testkit/client/certified';
import { codeOf } from '@millrace/testkit/client/helpers';
import { createPartLife } from '@millrace/testkit/client/part-life';
import { beforeAll, describe, expect, it } from 'vitest';

// Row 34: false statements on a part after its completion. A former owner, a foreign inspector, or control, each with
// its real keys. Control writes what it wants with the log's key. The verifier is a stranger with the keys of the log
// and of the administrator.

const keys = makeKeys();
const [buyer, next, lab, stranger] = [generateUserKey(), generateUserKey(), generateUserKey(), generateUserKey()];
const { holder } = keys;
const trust = { logKey: logKeyOf(keys), authority: keys.admin.publicKey };
let story: Awaited<ReturnType<typeof makeStory>>;
beforeAll(async () => {
  story = await makeStory(keys);
});

const begin = () => createPartLife(keys.admin, story.object);
type Life = ReturnType<typeof begin>;

async function exported(events: readonly EventRequest[], told = story): Promise<Uint8Array> {
  const origin = `millrace/${INSTALLATION}`;
  const signer = ed25519NoteSigner(origin, keys.log);
  const ledger = await openLedger({
    ...{ store: new MemoryLog(), signer, origin, clock: systemClock },
    map: { changes: 1_000 },
  });
  for (const event of [...told.events, ...events]) await ledger.append(event);
  await ledger.logMap();
  const certificate = await exportCertificate(ledger, told.object);
  await ledger.close();
  return certificate;
}
const verdict = async (...events: readonly EventRequest[]) => checkCertificate(await exported(events), trust);
const refusal = (...events: readonly EventRequest[]) => codeOf(verdict(...events));

/** Inspectors named, an inspection, a sale, an inspection by the new owner. */
async function wholeLife(life: Life): Promise<EventRequest[]> {
  return [
    await life.event(holder, { type: 'object.appoint', inspectors: [lab.publicKey] }),
    await life.event(lab, {
      ...{ type: 'object.inspect', result: 'passed', method: 'ISO 2768' },
      document: new Uint8Array(32).fill(7),
    }),
    await life.handOver(holder, buyer),
    await life.event(buyer, { type: 'object.inspect', result: 'failed' }),
  ];
}

describe('the life of a part', () => {
  it('is shown whole to a stranger: who owned, inspected and retired it, by whose signature', async () => {
    const life = begin();
    const events = await wholeLife(life);
    const sold = await verdict(...events);
    expect(sold).toMatchObject({ state: 'completed', made: true, life: { transfers: [{}], inspections: [{}, {}] } });
    const retired = await verdict(...events, await life.event(buyer, { type: 'object.retire', reason: 'worn' }));
    expect(retired).toMatchObject({ state: 'retired', made: true, life: { retired: { reason: 'worn' } } });
    expect(retired.completeTo).toBeGreaterThan(0);
    const words = retired.checked.join('\n');
    expect(words).toContain('accepted by');
    expect(words).toContain('inspection: passed (ISO 2768)');
    expect(words).toContain('whom the part’s owner had named as an inspector; report with SHA-256 0707');
    expect(words).toContain('inspection: failed on');
    expect(words).toContain('retired: worn');
    expect(words).toMatch(/owner of the part: .*by the last transfer/);
    expect(retired.unchecked.join('\n')).toContain('whether a part in your hands is this object');
  });

  it('belongs at first to the holder who ordered it', async () => {
    const { life, checked } = await verdict();
    expect(life).toMatchObject({ transfers: [], inspections: [] });
    expect(checked.join('\n')).toContain('the licence’s holder, who ordered it');
  });
});

describe('a former owner, with its key and control’s help,', () => {
  it('cannot transfer the part again, or say anything else of it', async () => {
    for (const follow of ['the sale', 'the same document as the sale'] as const) {
      const life = begin();
      const sale = await life.handOver(holder, buyer);
      const changes = follow === 'the sale' ? {} : { after: undefined };
      expect(await refusal(sale, await life.handOver(holder, next, changes))).toBe('E_EVIDENCE');
    }
    const said: Parameters<Life['event']>[1][] = [
      { type: 'object.retire', reason: 'lost' },
      { type: 'object.inspect', result: 'passed' },
      { type: 'object.appoint', inspectors: [] },
    ];
    for (const body of said) {
      const life = begin();
      const sale = await life.handOver(holder, buyer);
      expect(await refusal(sale, await life.event(holder, body))).toBe('E_EVIDENCE');
    }
  });

  it('cannot make a sale without the buyer, or the buyer one without the owner', async () => {
    expect(await refusal(await begin().handOver(holder, buyer, {}, stranger))).toBe('E_EVIDENCE');
    expect(await refusal(await begin().handOver(stranger, buyer))).toBe('E_EVIDENCE');
    // The design’s owner and the administrator own no part.
    for (const signer of [keys.owner, keys.admin])
      expect(await refusal(await begin().handOver(signer, buyer))).toBe('E_EVIDENCE');
    const other = { transfer: systemRandom(32) };
    expect(await refusal(await begin().handOver(holder, buyer, { accept: other }))).toBe('E_EVIDENCE');
    const late = { issued: 10 * 24 * 3_600_000, expires: 11 * 24 * 3_600_000 };
    expect(await refusal(await begin().handOver(holder, buyer, { accept: late }))).toBe('E_EVIDENCE');
  });
});

describe('an inspector', () => {
  const passed = { type: 'object.inspect', result: 'passed' } as const;

  it('whom the part’s owner has not named proves nothing', async () => {
    for (const signer of [lab, stranger, keys.owner, keys.admin])
      expect(await refusal(await begin().event(signer, passed))).toBe('E_EVIDENCE');
    const life = begin();
    const named = await life.event(lab, { type: 'object.appoint', inspectors: [lab.publicKey] });
    expect(await refusal(named, await life.event(lab, passed))).toBe('E_EVIDENCE');
  });

  it('of a former owner, or one that was replaced, is none', async () => {
    for (const ended of ['sold', 'replaced'] as const) {
      const life = begin();
      const named = await life.event(holder, { type: 'object.appoint', inspectors: [lab.publicKey] });
      const end =
        ended === 'sold'
          ? await life.handOver(holder, buyer)
          : await life.event(holder, { type: 'object.appoint', inspectors: [stranger.publicKey] });
      expect(await refusal(named, end, await life.event(lab, passed))).toBe('E_EVIDENCE');
    }
  });
});

describe('control, with the log’s key,', () => {
  it('cannot drop or reorder documents: each names the one before it', async () => {
    const [named, passed, sold, failed] = (await wholeLife(begin())) as [
      EventRequest,
      EventRequest,
      EventRequest,
      EventRequest,
    ];
    expect(await codeOf(verdict(named, passed, sold, failed))).toBe('no error');
    for (const events of [
      [named, sold, failed],
      [named, passed, failed],
      [passed, named, sold, failed],
      [named, sold, passed, failed],
    ])
      expect(await refusal(...events)).toBe('E_EVIDENCE');
  });

  it('cannot hide the last one from a certificate with a map; without, the verdict says so', async () => {
    const certificate = await exported(await wholeLife(begin()));
    const { map, ...parts } = decodeCertificate(certificate);
    const own = parts.entries.filter(
      ({ index, opening }) => decodeOpening(opening, index).event.account === story.object,
    );
    const entries = parts.entries.filter(({ index }) => index !== own.at(-1)?.index);
    const shortened = { ...parts, entries };
    expect(await codeOf(checkCertificate(encodeCertificate({ ...shortened, ...(map && { map }) }), trust))).toBe(
      'E_LEDGER_PROOF',
    );
    const { life, unchecked } = await checkCertificate(encodeCertificate(shortened), trust);
    expect(life.inspections).toHaveLength(1);
    expect(unchecked.join('\n')).toContain('whether the last events were left out');
  });

  it('cannot replay a document for another object, or a second time', async () => {
    const other = await makeStory(keys);
    const life = createPartLife(keys.admin, other.object);
    const passed = await life.event(holder, { type: 'object.inspect', result: 'passed' });
    expect(await refusal({ ...passed, account: story.object })).toBe('E_EVIDENCE');
    const here = begin();
    const inspection = await here.event(holder, { type: 'object.inspect', result: 'passed' });
    expect(await refusal(inspection, { ...inspection, eventId: 'again' })).toBe('E_EVIDENCE');
    // A part that was never made has no life.
    const early = { ...story, events: story.events.slice(0, -1) };
    // Not even the ledger takes it.
    expect(await codeOf(exported([inspection], early))).toBe('E_STATE');
  });

  it('cannot add anything to a retired part', async () => {
    const life = begin();
    const retired = await life.event(holder, { type: 'object.retire', reason: 'scrapped' });
    // Not even the ledger takes it; a log written by other means is refused by its chain.
    expect(await refusal(retired, await life.handOver(holder, buyer))).toBe('E_STATE');
  });

  it('cannot change what a document says', async () => {
    const inspection = await begin().event(holder, { type: 'object.inspect', result: 'failed' });
    const body = { ...inspection.body, result: 'passed' };
    expect(await refusal({ ...inspection, body })).toBe('E_EVIDENCE');
  });
});
