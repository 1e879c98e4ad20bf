import type { MachineView, SpoolStatementView, SpoolView } from '@millrace/api';
import { type Bytes, systemClock, toBase64, toHex } from '@millrace/base';
import { generateP256Key, keyName, type MemorySigner } from '@millrace/identity';
import type { EventRequest, Ledger } from '@millrace/ledger';
import { type Directory, type Odometer, readTransaction } from '@millrace/protocol';
import { INSTALLATION, logKeyOf, logOf, makeKeys, makeStory, type Story } from '@millrace/testkit/client/certified';
import { codeOf } from '@millrace/testkit/client/helpers';
import { samplePla } from '@millrace/testkit/protocol/material';
import { createPeople, type TestPerson, type TransactionBody } from '@millrace/testkit/protocol/people';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Api, createMemoryStorage, type Session, siteReport } from '../src/index.ts';
import { eventsOf, mapWithout } from './logged-map.ts';

// What a hostile control can show of a machine, and what the report of the licence's holder finds. Control has the log's
// key.

const keys = makeKeys();
const machine = keyName(keys.machine.publicKey);
const HOUR = 3_600_000;
const DAY = Date.UTC(2026, 10, 28);
const people = createPeople({ admin: keys.admin, installation: INSTALLATION, now: () => DAY });
const at = (minutes: number, metres: number, grams: number, objects: number): Odometer => ({
  ...{ minutes, metres, grams, started: objects, ended: objects },
});

let carla: TestPerson;
let story: Story;
let spool: string;
let ledger: Ledger;
let statements: SpoolStatementView[];
const stated = async (by: MemorySigner, body: TransactionBody, used: number, time: number) => {
  const transaction = await people.sign(by, body);
  const statement = toHex(readTransaction(transaction).id);
  return { transaction, view: { statement, spool, at: time, used, transaction: toBase64(transaction) } };
};

beforeAll(async () => {
  carla = await people.person(await people.organisation('ACME', 'supplier'), 'carla', ['certifier']);
  const certificate = await people.sign(carla.key, { type: 'material.certify', ...samplePla(DAY) });
  spool = toHex(readTransaction(certificate).id);
  const [loading, unloading] = [
    await stated(keys.holder, { type: 'spool.load', machine, number: DAY, certificate }, 5, 1),
    await stated(keys.admin, { type: 'spool.unload', machine, spool, number: DAY + 1 }, 12, systemClock.now() + HOUR),
  ];
  const proof = { load: loading.transaction, supplier: carla.credential };
  const { credentials } = await makeStory(keys);
  story = await makeStory(keys, {
    request: { odometer: at(10, 3, 9, 1), spool: { ...proof, operator: credentials.holder } },
    report: { odometer: at(70, 5, 15, 2), used: { spool, metres: 3, grams: 7 } },
  });
  statements = [
    { ...loading.view, credential: toBase64(credentials.holder), supplier: toBase64(carla.credential) },
    { ...unloading.view, credential: '' },
  ];
  ledger = await logOf(keys, story.events);
});

interface Shown {
  readonly statements?: readonly SpoolStatementView[];
  readonly log?: Ledger;
  readonly view?: Partial<MachineView>;
  readonly hides?: (account: string) => boolean;
}

async function report(shown: Shown = {}) {
  const { log = ledger, hides = () => false } = shown;
  const document = story.events[0]?.evidence?.[0] as Bytes;
  const view = { machine, serial: 'SN-1', document: toBase64(document), ...shown.view } as MachineView;
  const credential = toBase64(story.credentials.holder);
  const api: Partial<Api> = {
    key: async (key) => ({ key, name: 'holder', credential }),
    machines: async () => [view],
    spoolStatements: async () => [...(shown.statements ?? statements)],
    spools: async () => [{ spool, used: 12 } as SpoolView],
    checkpoint: async () => log.checkpoint(),
    tile: (path) => log.tile(path),
    openings: async (cursor) => ({
      items: (await eventsOf(log))
        .filter(({ event, index }) => !hides(event.account) && index >= Number(cursor ?? 0))
        .map(({ index, opening }) => ({ index, opening: toBase64(opening) })),
    }),
    mapProofs: ({ accounts }) => mapWithout(hides, accounts, log),
  };
  const directory = {
    ...{ installation: INSTALLATION, adminKey: toHex(keys.admin.publicKey), logKey: logKeyOf(keys) },
  } as Directory;
  const session = {
    api: api as Api,
    directory,
    storage: createMemoryStorage(),
    clock: systemClock,
    signer: keys.holder,
  };
  return siteReport(session as Partial<Session> as Session, machine, {}, () => undefined);
}

describe('the report of a machine', () => {
  it('reconciles what is signed with what control has counted', async () => {
    const { findings, stays, prints, odometer } = await report();
    expect(findings).toEqual([]);
    expect(stays).toMatchObject([
      {
        ...{ spool, content: { name: 'PLA', supplier: 'ACME', serial: 'AC-000017' }, left: 988, reported: 7 },
        ...{ loaded: { left: 995, by: 'Holder Ltd' }, unloaded: { by: 'the administrator' } },
      },
    ]);
    expect(prints).toMatchObject([{ object: story.object, completed: true, used: { grams: 7, metres: 3 } }]);
    expect(odometer?.difference).toEqual({ minutes: 60, metres: 2, grams: 6, started: 1, ended: 1 });
  });

  it('refuses statements on spools that nobody, or somebody else, has signed like this', async () => {
    const [loading, unloading] = statements as [SpoolStatementView, SpoolStatementView];
    const elsewhere = { type: 'spool.unload', machine: 'ab'.repeat(16), spool, number: DAY + 1 } as const;
    const { view: other } = await stated(keys.admin, elsewhere, 12, 3);
    const { view: stranger } = await stated(
      keys.holder,
      { type: 'spool.unload', machine, spool, number: DAY + 1 },
      12,
      3,
    );
    const wrong: [string, SpoolStatementView[]][] = [
      ['another spool', [loading, { ...unloading, spool: 'ab'.repeat(16) }]],
      ['another certified spool', [{ ...loading, spool: 'ab'.repeat(16) }]],
      ['another identifier', [{ ...loading, statement: 'ab'.repeat(16) }]],
      ['another machine', [loading, { ...other, credential: '' }]],
      ['no administrator', [loading, { ...stranger, credential: '' }]],
      ['no operator', [{ ...loading, credential: toBase64(carla.credential) }]],
      ['no supplier', [{ ...loading, supplier: toBase64(story.credentials.holder) }]],
    ];
    for (const [what, shown] of wrong) expect(await codeOf(report({ statements: shown })), what).toBe('E_EVIDENCE');
  });

  it('finds statements that control leaves out, and other counts', async () => {
    const [loading, unloading] = statements as [SpoolStatementView, SpoolStatementView];
    const found = async (shown: Shown) =>
      (await report(shown)).findings.map(({ about, unit, expected, found }) => [about, unit, expected, found]);
    expect(await found({ statements: [] })).toContainEqual([story.object, 'statements', 1, 0]);
    expect(await found({ statements: [loading, { ...unloading, used: 9 }] })).toEqual([[spool, 'grams', 7, 4]]);
    expect(await found({ hides: (account) => account === story.object })).toEqual([[spool, 'grams', 0, 7]]);
  });

  it('refuses a report of the machine that its key has not signed', async () => {
    const forger = { ...generateP256Key(), publicKey: keys.machine.publicKey };
    const forged = await makeStory({ ...keys, machine: forger }, { report: { used: { spool, metres: 1, grams: 1 } } });
    expect(await codeOf(report({ log: await logOf(keys, forged.events) }))).toBe('E_EVIDENCE');
  });

  it('refuses a signed report that control logs for another object, too', async () => {
    const second = await makeStory(keys, { number: 2 });
    const ended = story.events.at(-1) as EventRequest;
    const events = [...story.events, ...second.events.slice(2, -1)];
    const other: EventRequest = { ...ended, account: second.object, eventId: 'other' };
    expect(await codeOf(report({ log: await logOf(keys, [...events, other]) }))).toBe('E_EVIDENCE');
  });

  it('refuses a machine of another cloud, and another registration', async () => {
    expect(await codeOf(report({ view: { cloud: 'ab'.repeat(16) } }))).toBe('E_CONFLICT');
    const { events } = await makeStory({ ...keys, machine: generateP256Key() });
    const document = toBase64(events[0]?.evidence?.[0] as Bytes);
    expect(await codeOf(report({ view: { document } }))).toBe('E_MACHINE_UNKNOWN');
    expect(await codeOf(report({ view: { machine: 'ab'.repeat(16) } }))).toBe('E_NOT_FOUND');
  });
});
