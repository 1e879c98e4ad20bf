import { type Bytes, systemRandom, toHex } from '@millrace/base';
import { generateP256Key, generateUserKey, keyName } from '@millrace/identity';
import type { EventRequest } from '@millrace/ledger';
import { creditedFact, leftFact, licenceAccount, licenceOf, signTransaction, statusFact } from '@millrace/protocol';
import {
  alarm,
  type Changes,
  certify,
  INSTALLATION,
  type Keys,
  logKeyOf,
  logOf,
  makeKeys,
  makeStory,
  type Story,
} from '@millrace/testkit/client/certified';
import { codeOf } from '@millrace/testkit/client/helpers';
import { beforeAll, describe, expect, it } from 'vitest';
import { OwnObjects } from '../src/audit-objects.ts';
import { type CertificateTrust, checkCertificate } from '../src/certificates.ts';

let keys: Keys;
let story: Story;
let byOwner: CertificateTrust;
let byAuthority: CertificateTrust;
let byBoth: CertificateTrust;

beforeAll(async () => {
  keys = makeKeys();
  story = await makeStory(keys);
  const logKey = logKeyOf(keys);
  const [owner, authority] = [keys.owner.publicKey, keys.admin.publicKey];
  byOwner = { logKey, owner };
  byAuthority = { logKey, authority };
  byBoth = { logKey, owner, authority };
});

const names = ['registration', 'licence', 'order', 'permit', 'start', 'completion'] as const;

async function verdict(events: readonly EventRequest[], trust = byBoth, object = story.object) {
  return checkCertificate(await certify(keys, events, object), trust);
}

async function refusal(events: readonly EventRequest[], trust = byBoth, object = story.object): Promise<string> {
  return codeOf(verdict(events, trust, object));
}

/** The example events with one event replaced. */
const but = (at: number, change: (event: EventRequest) => EventRequest, events = story.events) =>
  events.map((event, i) => (i === at ? change(event) : event));

describe('a certificate', () => {
  it('verifies for the owner, for the authority and for both', async () => {
    for (const trust of [byOwner, byAuthority, byBoth]) {
      const summary = await verdict(story.events, trust);
      expect(summary).toMatchObject({ object: story.object, state: 'completed', number: 1, of: 2, material: 'PLA' });
      expect(summary.owner.key).toBe(toHex(keys.owner.publicKey));
    }
    expect((await verdict(story.events, byBoth)).signatures).toBe(10);
    // Without an authority nobody vouches for the three registrations.
    expect((await verdict(story.events, byOwner)).signatures).toBe(6);
  });

  it('needs an owner or an authority named by the verifier', async () => {
    const { logKey } = byBoth;
    expect(await refusal(story.events, { logKey })).toBe('E_INPUT');
    expect(await refusal(story.events, { logKey, owner: keys.permit.publicKey })).toBe('E_INPUT');
    expect(await refusal(story.events, { logKey, owner: keys.holder.publicKey })).toBe('E_EVIDENCE');
    expect(await refusal(story.events, { logKey, authority: keys.owner.publicKey })).toBe('E_EVIDENCE');
    const other = generateUserKey().publicKey;
    expect(await refusal(story.events, { ...byBoth, owner: other })).toBe('E_EVIDENCE');
    expect(await refusal(story.events, { ...byBoth, authority: other })).toBe('E_EVIDENCE');
  });

  it('states what was checked, by whose signature, and what was not', async () => {
    const [owner, both] = [await verdict(story.events, byOwner), await verdict(story.events, byBoth)];
    expect(both.checked.join('\n')).toContain('registered as Owner Ltd by the administrator');
    expect(both.checked.join('\n')).toContain('given by the key that the administrator registered for permits');
    expect(both.unchecked.join('\n')).toContain('whether anything happened after these entries');
    expect(both.unchecked.join('\n')).not.toContain('permit');
    expect(owner.checked.join('\n')).not.toContain('administrator');
    expect(owner.unchecked.join('\n')).toContain('only the administrator’s key confirms it, and you named none');
  });

  it('shows a credit by the licence’s policy, which a machine’s report stands behind', async () => {
    const early = async (lines: number, licence: NonNullable<Changes['licence']>) => {
      const own = await makeStory(keys, { licence });
      const facts = { serial: 'SN-1', material: 'PLA', segments: 0, code: 'E_MACHINE', lines };
      const failed = await own.report('failed', { facts });
      const machine = keyName(keys.machine.publicKey);
      const evidence = [failed.evidence?.[0], own.events[0]?.evidence?.[0]] as Bytes[];
      const credit = (eventId: string): EventRequest => ({
        ...{ account: licenceAccount(licenceOf(own.object)), type: 'credited', actor: machine, evidence, eventId },
        body: { object: own.object, fact: 'failed early', lines },
      });
      const final = { ...creditedFact({ object: own.object }, machine), eventId: 'final' };
      return { own, events: [...own.events.slice(0, 5), failed, credit('first'), final], twice: credit('second') };
    };
    const creditPolicy = { below: 10, most: 1 };
    const { own, events, twice } = await early(9, { creditPolicy });
    const { state, checked } = await verdict(events, byBoth, own.object);
    expect(state).toBe('credited');
    expect(checked.join('\n')).toContain('credited by the policy of the licence');
    expect(await refusal([...events, twice], byBoth, own.object)).toBe('E_EVIDENCE');
    for (const other of [await early(10, { creditPolicy }), await early(0, {})])
      expect(await refusal(other.events, byBoth, other.own.object)).toBe('E_EVIDENCE');
  });

  it('covers an object that is not finished, or that failed', async () => {
    expect(await verdict(story.events.slice(0, 4))).toMatchObject({ state: 'permitted', signatures: 8 });
    expect(await verdict(story.events.slice(0, 3))).toMatchObject({ state: 'ordered', machine: undefined });
    const failed = await story.report('failed');
    expect(await verdict([...story.events.slice(0, 5), failed])).toMatchObject({ state: 'failed' });
  });

  it('verifies across resumed streams, in the same run only', async () => {
    const before = story.events.slice(0, 5);
    const end = story.events.slice(5);
    expect(await verdict([...before, await story.resume(), ...end])).toMatchObject({ state: 'completed' });
    expect(await refusal([...before, await story.resume({ run: systemRandom(16) }), ...end])).toBe('E_EVIDENCE');
    expect(await refusal([...before, await story.resume({ material: 'ABS' }), ...end])).toBe('E_EVIDENCE');
  });

  it('reports an alarm as unproven, and the owner who cleared it', async () => {
    const alarmed = [...story.events.slice(0, 5), alarm(story.object)];
    const cleared = await verdict([...alarmed, await story.clear()]);
    expect(cleared.state).toBe('alarmed');
    expect(cleared.checked).toContain('alarm: cleared by the owner');
    expect(cleared.unchecked.join('\n')).toContain('the alarm');
    expect(await refusal([...alarmed, await story.clear(keys.admin)])).toBe('E_EVIDENCE');
    expect(
      await refusal(alarmed.map((event) => ({ ...event, ...(event.type === 'alarmed' && { actor: 'control' }) }))),
    ).toBe('E_EVIDENCE');
  });
});

describe('an attacker with the log’s key and every node’s key', () => {
  it('cannot make a certificate without signatures', async () => {
    const bare = story.events.map(({ evidence: _, ...event }) => event);
    for (const trust of [byOwner, byAuthority, byBoth]) expect(await refusal(bare, trust)).toBe('E_EVIDENCE');
  });

  it.each(names.map((name, at) => [name, at] as const))('cannot omit a document of the %s', async (_, at) => {
    const evidence = story.events[at]?.evidence ?? [];
    const { evidence: _none, ...bare } = story.events[at] as EventRequest;
    expect(await refusal(but(at, () => bare))).toBe('E_EVIDENCE');
    for (let left = 0; left < evidence.length && evidence.length > 1; left++)
      expect(await refusal(but(at, (event) => ({ ...event, evidence: evidence.toSpliced(left, 1) })))).toBe(
        'E_EVIDENCE',
      );
  });

  it.each(names.map((name, at) => [name, at] as const))('cannot replace a document of the %s', async (_, at) => {
    const documents = (events: readonly EventRequest[]) => events.flatMap(({ evidence }) => evidence ?? []) as Bytes[];
    const second = await makeStory(keys, { number: 2 });
    const foreign = await makeStory(keys, { installation: 'ef'.repeat(16) });
    const otherDesign = await makeStory(keys, { core: { nonce: new Uint8Array(16).fill(1) } });
    // A second registration of the same machine, owner, holder or permit key says the same, and may replace it.
    const registrations = [second, otherDesign].flatMap(({ events: [machine, licence, order, permit] }) => [
      machine?.evidence?.[0],
      licence?.evidence?.[1],
      order?.evidence?.[1],
      permit?.evidence?.[2],
    ]);
    const others = [story, second, foreign, otherDesign].flatMap(({ events }) => documents(events));
    const evidence = documents(story.events.slice(at, at + 1));
    for (const [place, own] of evidence.entries()) {
      for (const other of [...others, systemRandom(200), own.slice(1)]) {
        if (toHex(other) === toHex(own) || registrations.includes(other)) continue;
        const swapped = but(at, (event) => ({ ...event, evidence: evidence.with(place, other) }));
        expect(await refusal(swapped)).toBe('E_EVIDENCE');
      }
    }
  });

  it.each(names.map((name, at) => [name, at] as const))('cannot change the content of the %s', async (_, at) => {
    const body = story.events[at]?.body ?? {};
    for (const [field, value] of Object.entries(body)) {
      if (field === 'licence' || (field === 'machine' && at === 3)) continue; // names of accounts: tested below
      const other =
        typeof value === 'number' ? value + 1 : value instanceof Uint8Array ? systemRandom(32) : `${value}x`;
      expect(await refusal(but(at, (event) => ({ ...event, body: { ...body, [field]: other } })))).toBe('E_EVIDENCE');
      const { [field]: _left, ...less } = body;
      expect(await refusal(but(at, (event) => ({ ...event, body: less })))).toBe('E_EVIDENCE');
    }
    expect(await refusal(but(at, (event) => ({ ...event, body: { ...body, more: 'praise' } })))).toBe('E_EVIDENCE');
    expect(await refusal(but(at, (event) => ({ ...event, actor: keyName(generateUserKey().publicKey) })))).toBe(
      'E_EVIDENCE',
    );
  });

  it.each(['owner', 'holder', 'machine'] as const)('cannot sign for the %s', async (whose) => {
    const stolen = { ...keys, [whose]: whose === 'machine' ? generateP256Key() : generateUserKey() };
    const forged = await makeStory(stolen, {
      // All other documents are genuine.
      registration: { publicKey: keys.owner.publicKey },
      machine: { machine: keyName(keys.machine.publicKey), publicKey: keys.machine.publicKey },
      licence: { holder: keys.holder.publicKey },
    });
    for (const trust of [byOwner, byAuthority, byBoth])
      expect(await refusal(forged.events, trust, forged.object)).toBe('E_EVIDENCE');
  });

  it('cannot register an owner, a machine or a permit key without the administrator', async () => {
    const forged = await makeStory({ ...keys, admin: generateUserKey() });
    expect(await refusal(forged.events, byAuthority, forged.object)).toBe('E_EVIDENCE');
    expect(await refusal(forged.events, byBoth, forged.object)).toBe('E_EVIDENCE');
    const evidence = forged.events[3]?.evidence ?? [];
    const own = (story.events[3]?.evidence ?? []).with(2, evidence[2] ?? systemRandom(1));
    expect(await refusal(but(3, (event) => ({ ...event, evidence: own })))).toBe('E_EVIDENCE');
  });

  it('an unregistered permit key is rejected for the authority, and reported as unchecked for the owner', async () => {
    const forged = await makeStory({ ...keys, permit: generateP256Key(), admin: generateUserKey() });
    expect(await refusal(forged.events, byAuthority, forged.object)).toBe('E_EVIDENCE');
    const summary = await verdict(forged.events, byOwner, forged.object);
    expect(summary.unchecked.join('\n')).toContain('whose key signed the permit');
  });

  it('cannot forge the owner’s count of objects left, nor start an object counted as made', async () => {
    const licence = story.object.slice(0, 32);
    const says = async (objects: number, signer = keys.owner, restore = 'e'.repeat(32)): Promise<EventRequest> => {
      const [id, issued] = [systemRandom(16), Date.now()];
      const word = { type: 'licence.resume' as const, id, issued, expires: issued + 60_000, licence, restore, objects };
      const { owner, holder } = story.credentials;
      const credential = signer === keys.holder ? holder : owner;
      const evidence = [await signTransaction(signer, INSTALLATION, word), credential];
      return { ...leftFact(word, keyName(keys.owner.publicKey)), evidence, eventId: `resume/${toHex(id)}` };
    };
    const after = async (at: number, word: Promise<EventRequest>) => story.events.toSpliced(at, 0, await word);
    expect(await refusal(await after(2, says(2)))).toBe('no error');
    expect(await refusal(await after(2, says(1)))).toBe('E_EVIDENCE'); // object 1 was ordered after it
    expect(await refusal(await after(3, says(1)))).toBe('no error');
    expect(await refusal(await after(3, says(3)))).toBe('E_EVIDENCE');
    expect(await refusal(await after(3, says(1, keys.holder)))).toBe('E_EVIDENCE');
    const { evidence: _none, ...bare } = await says(1);
    expect(await refusal(story.events.toSpliced(3, 0, bare))).toBe('E_EVIDENCE');
    const other = { ...(await says(1)), body: { fact: 'resumed', objects: 2, restore: 'e'.repeat(32) } };
    expect(await refusal(story.events.toSpliced(3, 0, other))).toBe('E_EVIDENCE');
  });

  it('cannot forge a reinstatement, nor order under a licence that the owner suspended or revoked', async () => {
    const licence = story.object.slice(0, 32);
    let number = 0;
    const says = async (change: 'suspend' | 'reinstate' | 'revoke', signer = keys.owner): Promise<EventRequest> => {
      const [id, issued] = [systemRandom(16), Date.now()];
      const common = { id, issued, expires: issued + 60_000, licence, number: ++number };
      const word =
        change === 'revoke'
          ? { type: 'licence.revoke' as const, ...common, stop: false }
          : { type: `licence.${change}` as const, ...common };
      const { owner, holder } = story.credentials;
      const credential = signer === keys.holder ? holder : owner;
      const evidence = [await signTransaction(signer, INSTALLATION, word), credential];
      return { ...statusFact(word, keyName(keys.owner.publicKey)), evidence, eventId: `status/${toHex(id)}` };
    };
    const after = (at: number, ...words: EventRequest[]) => story.events.toSpliced(at, 0, ...words);
    // Before the order the change is rejected unless the licence was reinstated. After the order it is accepted.
    for (const change of ['suspend', 'revoke'] as const) {
      expect(await refusal(after(2, await says(change)))).toBe('E_EVIDENCE');
      expect(await refusal(after(3, await says(change)))).toBe('no error');
    }
    expect(await refusal(after(2, await says('suspend'), await says('reinstate')))).toBe('no error');
    expect(await refusal(after(2, await says('revoke'), await says('reinstate')))).toBe('E_EVIDENCE');
    const [older, newer] = [await says('reinstate'), await says('suspend')];
    expect(await refusal(after(2, newer, older))).toBe('E_EVIDENCE');
    const forged = await says('reinstate', keys.holder);
    expect(await refusal(after(2, await says('suspend'), forged))).toBe('E_EVIDENCE');
    const { evidence: _none, ...bare } = await says('reinstate');
    expect(await refusal(after(3, bare))).toBe('E_EVIDENCE');
    const other = { ...(await says('revoke')), body: { fact: 'suspended', number } };
    expect(await refusal(after(3, other))).toBe('E_EVIDENCE');
  });

  it('cannot use a document twice', async () => {
    const started = story.events[4] as EventRequest;
    const again = { ...started, eventId: 'again' };
    const twice = await story.report('progressed');
    const progress = [...story.events.slice(0, 5), twice];
    expect(await refusal([...story.events.slice(0, 5), again])).toMatch(/^E_(STATE|EVIDENCE)$/);
    expect(await refusal(progress)).toBe('no error');
    expect(await refusal([...progress, { ...twice, eventId: 'again' }])).toBe('E_EVIDENCE');
    const resumed = await story.resume();
    expect(await refusal([...progress, resumed, { ...resumed, eventId: 'again' }])).toBe('E_EVIDENCE');
  });

  it('cannot use one object’s documents for another', async () => {
    const licence = story.object.slice(0, 32);
    const second = story.events.slice(2).map((event) => ({ ...event, account: `${licence}-2` }));
    const events = [...story.events.slice(0, 2), ...second];
    expect(await refusal(events, byBoth, `${licence}-2`)).toBe('E_EVIDENCE');
    const numbered = events.map((event) =>
      event.type === 'ordered' ? { ...event, body: { ...event.body, number: 2 } } : event,
    );
    expect(await refusal(numbered, byBoth, `${licence}-2`)).toBe('E_EVIDENCE');
  });

  it('cannot write events without a document', async () => {
    const { object } = story;
    const event = (account: string, type: EventRequest['type'], evidence?: Bytes): EventRequest => ({
      account,
      type,
      actor: 'control',
      body: {},
      eventId: `${account}/${type}`,
      ...(evidence && { evidence: [evidence] }),
    });
    const licence = `licence:${object.slice(0, 32)}`;
    const machine = `machine:${keyName(keys.machine.publicKey)}`;
    for (const [account, type] of [
      [object, 'transferred'],
      [object, 'material'],
      [object, 'retired'],
      [object, 'inspected'],
      [object, 'machine'],
      [licence, 'credited'],
      [licence, 'transferred'],
      [machine, 'material'],
      [machine, 'machine'],
    ] as const) {
      expect(await refusal([...story.events, event(account, type)]), `${account} ${type}`).toBe('E_EVIDENCE');
      const some = story.events[0]?.evidence?.[0] as Bytes;
      expect(await refusal([...story.events, event(account, type, some)]), `${account} ${type}`).toBe('E_EVIDENCE');
    }
  });
});

describe('signed documents that do not match', () => {
  const cases: [string, Changes][] = [
    ['a third object of a licence for two', { number: 3 }],
    ['a material that the licence does not allow', { request: { material: 'ABS' } }],
    ['a report of another material', { facts: { material: 'ABS' } }],
    ['a report of another serial number', { facts: { serial: 'SN-2' } }],
    ['a request with another serial number', { request: { serial: 'SN-2' } }],
    ['a request of another print', { request: { print: '11'.repeat(16) } }],
    ['a request after the licence has ended', { licence: { notAfter: Date.UTC(2026, 10, 27) } }],
    ['a request before the licence begins', { licence: { notBefore: Date.UTC(2026, 10, 29) } }],
    ['a request after the print request has expired', { print: { expires: Date.UTC(2026, 10, 27) } }],
    [
      'a machine that the licence names otherwise',
      { licence: { machines: [{ machine: '22'.repeat(16), registration: new Uint8Array(32) }] } },
    ],
    ['a print for another licence', { print: { licence: '33'.repeat(16) } }],
    ['a print for another machine', { print: { machine: '44'.repeat(16) } }],
    ['a permit of another object', { permit: { object: `${'55'.repeat(16)}-1` } }],
    ['a permit of another number', { permit: { number: 2 } }],
    ['a permit of another design', { permit: { design: '66'.repeat(16) } }],
    ['a permit of another machine', { permit: { machine: '77'.repeat(16) } }],
    ['a permit of another print', { permit: { print: '88'.repeat(16) } }],
    ['a permit for another request', { permit: { request: new Uint8Array(32) } }],
    ['a report of another object', { report: { object: `${'99'.repeat(16)}-1` } }],
    ['a report of another run', { report: { run: new Uint8Array(16) } }],
    ['a completion with the MAC of other bytes', { facts: { contentMac: new Uint8Array(32) } }],
    ['a completion without a MAC', { facts: { contentMac: undefined } }],
    ['a core of another owner', { core: { owner: generateUserKey().publicKey } }],
    ['a licence for another core', { licence: { core: new Uint8Array(32) } }],
    ['a licence for another design', { licence: { design: 'ef'.repeat(16) } }],
    ['a licence whose holder is another', { licence: { holder: generateUserKey().publicKey } }],
    ['a registration of another owner', { registration: { publicKey: generateUserKey().publicKey } }],
    ['a permit key that was not registered', { permitKey: { publicKey: generateP256Key().publicKey } }],
  ];
  it.each(cases)('%s', async (_, changes) => {
    const { events, object } = await makeStory(keys, changes);
    for (const trust of [byOwner, byAuthority, byBoth])
      expect(await refusal(events, trust, object)).toMatch(/^E_(EVIDENCE|CERTIFICATE)$/);
  });

  it('a machine whose matching registration came only after the permit', async () => {
    const [registered, ...rest] = story.events as [EventRequest, ...EventRequest[]];
    const other = await makeStory(keys, { machine: { profile: { factor: 9 } } });
    const [before] = other.events as [EventRequest];
    expect(await refusal([before, registered, ...rest])).toBe('no error');
    expect(await refusal([before, ...rest.slice(0, 3), registered, ...rest.slice(3)])).toBe('E_EVIDENCE');
    expect(await refusal([before, ...rest])).toBe('E_EVIDENCE');
  });

  it('an administrator’s document of another type', async () => {
    const document = await signTransaction(keys.admin, INSTALLATION, {
      type: 'design.delete',
      id: systemRandom(16),
      issued: 0,
      expires: 0,
      design: '00'.repeat(16),
    });
    for (const [at, place] of [
      [0, 0],
      [1, 1],
      [3, 2],
    ] as const)
      expect(
        await refusal(but(at, (event) => ({ ...event, evidence: (event.evidence ?? []).with(place, document) }))),
      ).toBe('E_EVIDENCE');
  });
});

describe('an owner’s audit of a whole log', () => {
  const audit = async (events: readonly EventRequest[], owner = keys.owner.publicKey) => {
    const ledger = await logOf(keys, events);
    const own = new OwnObjects(INSTALLATION, { key: owner }, keys.admin.publicKey);
    for (let index = 0; index < ledger.size; index++) own.take(await ledger.entry(index));
    return own.verify();
  };

  it('verifies the objects under this owner’s licences, and skips those of others', async () => {
    const others = { ...keys, owner: generateUserKey(), log: keys.log };
    const foreign = await makeStory(others);
    const [, ...rest] = foreign.events; // the same machine
    expect(await audit([...story.events, ...rest])).toBe(1);
    expect(await audit([...story.events, ...rest], others.owner.publicKey)).toBe(1);
    expect(await audit([...story.events, ...rest], keys.holder.publicKey)).toBe(0);
  });

  it('lists the objects of a licence that nobody has ordered, within limits', async () => {
    const own = new OwnObjects(INSTALLATION, { key: keys.owner.publicKey }, keys.admin.publicKey);
    const [, licensed, ordered] = story.events as EventRequest[];
    const licence = story.object.slice(0, 32);
    const events = [
      { ...licensed, body: { ...licensed?.body, objects: 500 } },
      ...[3, 5].map((number) => ({ ...ordered, account: `${licence}-${number}`, eventId: `order/${number}` })),
    ];
    const ledger = await logOf(keys, events as EventRequest[]);
    for (let index = 0; index < ledger.size; index++) own.take(await ledger.entry(index));
    const numbers = [...own.notOrdered()].map((object) => Number(object.slice(33)));
    expect(numbers.slice(0, 4)).toEqual([1, 2, 4, 6]);
    expect(numbers.slice(-12)).toEqual([104, 105, 501, 502, 503, 504, 505, 506, 507, 508, 509, 510]);
    expect(numbers).toHaveLength(103 + 10);
  });

  it('detects an object that nobody ordered, and an order that was used twice', async () => {
    const licence = story.object.slice(0, 32);
    const event = (type: EventRequest['type'], body = {}): EventRequest => ({
      account: `${licence}-2`,
      type,
      actor: 'x',
      body,
      eventId: `extra/${type}`,
    });
    const extra = [event('ordered', { licence: `licence:${licence}` }), event('permitted'), event('started')];
    expect(await codeOf(audit([...story.events, ...extra]))).toBe('E_EVIDENCE');
    const ordered = story.events[2] as EventRequest;
    const second = { ...ordered, account: `${licence}-2`, body: { ...ordered.body, number: 2 }, eventId: 'twice' };
    await expect(audit([...story.events, second])).rejects.toMatchObject({
      code: 'E_EVIDENCE',
      message: expect.stringContaining('the same order was used for'),
    });
  });
});
