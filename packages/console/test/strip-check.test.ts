import type { MapAnswer } from '@millrace/api';
import { toBase64, toHex } from '@millrace/base';
import { cosign, exportCertificate, formatNote, formatVerifierKey, type Ledger, parseNote } from '@millrace/ledger';
import { licenceOf, objectId } from '@millrace/protocol';
import { logKeyOf, logOf, makeKeys, makeStory, type Story } from '@millrace/testkit/client/certified';
import { codeOf, witness } from '@millrace/testkit/ledger/helpers';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Cell } from '../src/web/reading-order.ts';
import { checkStrip, type StripSource } from '../src/web/strip-check.ts';

const keys = makeKeys();
const MAP = { changes: 1_000 };
const witnessKey = formatVerifierKey(witness.name, witness.publicKey, 0x04);
const trust = () => ({
  logKeys: [logKeyOf(keys)],
  witnesses: [witnessKey],
  authority: toHex(keys.admin.publicKey),
});
let story: Story;
let ledger: Ledger;
let honest: StripSource;
let licence: string;
let cells: Cell[];

beforeAll(async () => {
  story = await makeStory(keys);
  licence = licenceOf(story.object);
});
beforeEach(async () => {
  ledger = await logOf(keys, story.events, MAP);
  honest = sourceOf(ledger);
  cells = [
    { number: 1, state: 'completed', object: story.object },
    { number: 2, state: 'free' },
  ];
});

/** What an honest control node gives from its ledger, with the signature of a witness. */
function sourceOf(of: Ledger): StripSource {
  const text = ({ sequence, hash }: { sequence: number; hash: Uint8Array }) => ({ sequence, hash: toBase64(hash) });
  const cosigned = async (checkpoint = of.checkpoint()) => {
    const note = parseNote(checkpoint);
    const signatures = [...note.signatures, await cosign(note.text, 1_700_000_000, witness)];
    return formatNote({ text: note.text, signatures });
  };
  return {
    log: { checkpoint: cosigned, tile: (path) => of.tile(path) },
    certificate: async (object) => {
      await of.logMap();
      return exportCertificate(of, object, { checkpoint: await cosigned() });
    },
    map: async ({ accounts }) => {
      await of.logMap();
      const proven = await of.mapProofs(accounts);
      if (proven === undefined) throw new Error('no map was logged');
      const proofs = proven.proofs.map(({ newest, siblings, other }) => ({
        siblings: siblings.map(toBase64),
        ...(newest && { newest: text(newest) }),
        ...(other && { other: { key: toBase64(other.key), ...text(other) } }),
      }));
      return { index: proven.logged.index, proofs };
    },
    opening: async (index) => {
      for await (const logged of of.events(index)) return { index: logged.index, opening: toBase64(logged.opening) };
      return undefined;
    },
  };
}

const check = (shown: readonly Cell[], source: StripSource = honest) =>
  checkStrip({ licence, cells: shown }, source, trust());
/** Codes of the cells that do not hold. */
const failed = async (shown: readonly Cell[], source?: StripSource) =>
  [...(await check(shown, source)).failures].map(([number, { code }]) => [number, code]);

describe('the strip of a licence', () => {
  it('holds if objects, free numbers and states are those of the witnessed ledger', async () => {
    const checked = await check([...cells, { number: 9, state: 'earlier' }]);
    expect(checked).toMatchObject({ objects: 1, absent: 1, unchecked: 1, witnesses: [witness.name] });
    expect(checked.size).toBeGreaterThan(story.events.length);
    expect([...checked.failures]).toEqual([]);
  });

  it('does not hold if control shows another state, another number, or hides an object', async () => {
    const [made = { number: 1, state: '' }, free = { number: 2, state: '' }] = cells;
    expect(await failed([{ ...made, state: 'failed' }, free])).toEqual([[1, 'E_LEDGER_PROOF']]);
    expect(await failed([{ number: 1, state: 'free' }, free])).toEqual([[1, 'E_LEDGER_PROOF']]);
    // An object that was never permitted, shown with the certificate of another one.
    const forged = { number: 2, state: 'completed', object: objectId(licence, 2) };
    expect(await failed([made, forged], { ...honest, certificate: () => honest.certificate(story.object) })).toEqual([
      [2, 'E_LEDGER_PROOF'],
    ]);
  });

  it('does not hold if control gives a certificate of before the last event', async () => {
    const begun = await logOf(keys, story.events.slice(0, -1), MAP);
    const before = await sourceOf(begun).certificate(story.object);
    const [made = { number: 1, state: '' }] = cells;
    const hiding = { ...honest, certificate: async () => before };
    const { state } = (await ledger.head(story.object)) ?? { state: '' };
    expect(state).toBe('completed');
    expect(await failed([{ ...made, state: 'permitted' }], hiding)).toEqual([[1, 'E_LEDGER_PROOF']]);
    expect(await failed([{ ...made, state: 'running' }], hiding)).toEqual([[1, 'E_LEDGER_PROOF']]);
  });

  it.each<[string, (source: StripSource) => Partial<StripSource>, string]>([
    [
      'a proof that an object does not exist',
      ({ map }) => ({
        map: async (query) => {
          const [, ...others] = query.accounts;
          const absent = await map({ ...query, accounts: ['nobody', ...others] });
          return absent as MapAnswer;
        },
      }),
      'cell 1',
    ],
    [
      'the map of an older log',
      ({ map }) => ({ map: async (query) => ({ ...(await map(query)), index: 0 }) }),
      'E_LEDGER_PROOF',
    ],
    [
      'fewer proofs',
      ({ map }) => ({ map: async (query) => ({ ...(await map(query)), proofs: [] }) }),
      'E_LEDGER_PROOF',
    ],
    ['no opening of the root', () => ({ opening: async () => undefined }), 'E_LEDGER_PROOF'],
  ])('does not hold with %s', async (_, change, expected) => {
    const source = { ...honest, ...change(honest) };
    if (expected === 'cell 1') expect(await failed(cells, source)).toEqual([[1, 'E_LEDGER_PROOF']]);
    else expect(await codeOf(() => check(cells, source))).toBe(expected);
  });

  it('does not hold in a ledger of another key, or by another administrator', async () => {
    const others = makeKeys();
    const foreign = await checkStrip({ licence, cells }, honest, {
      ...trust(),
      authority: toHex(others.admin.publicKey),
    });
    expect([...foreign.failures.keys()]).toEqual([1]);
    const head = checkStrip({ licence, cells }, honest, { ...trust(), logKeys: [logKeyOf(others)] });
    expect(await codeOf(() => head)).toBe('E_LEDGER_CHECKPOINT');
  });
});
