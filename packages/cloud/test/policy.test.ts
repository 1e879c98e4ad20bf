import { type Action, actions, distributionLinks, TICKET_HEADER } from '@millrace/api';
import { encodeCbor, fromBase64, systemClock, systemRandom, toBase64, toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { decodeOpening } from '@millrace/ledger';
import { signTransaction, type Transaction } from '@millrace/protocol';
import { SEGMENT_BYTES } from '@millrace/vault';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Actor, guest, permits, type Resource, userActor } from '../src/node/policy.ts';
import {
  type ActorName,
  type ApiFixture,
  type Asked,
  actors,
  apiFixture,
  routes,
  type ServedNode,
} from './api-fixture.ts';

// Authorisation of every declared route and every action for every kind of actor. A route or action without a row
// fails the test.

/** One letter for each of `actors`: y allowed, f rejected (E_FORBIDDEN), "." no access to the route (E_AUTH). */
const anyUser = 'yyyyy......';
const owner = 'fyfff......';
const ownerOrHolder = 'fyfyf......';
const administrator = 'yffff......';
const proactive = '......yy...';

const anyParty = 'yyyyyyyyyy.';

const ofControl: Readonly<Record<string, string>> = {
  'openapi.get': anyUser,
  'directory.newest': anyParty,
  // Signed by the owner.
  'transactions.submit': owner,
  'organisations.list': anyUser,
  // No actor here belongs to the organisation.
  'organisations.keys': administrator,
  'organisations.invitations': administrator,
  'keys.get': anyUser,
  'keys.documents': administrator,
  'enrolments.invitation': anyUser,
  'enrolments.enrol': anyUser,
  'enrolments.certificate': anyUser,
  'revocations.get': anyParty,
  'revocations.publish': anyUser,
  'designs.list': anyUser,
  'designs.get': owner,
  'designs.private': owner,
  'designs.ticket': owner,
  'designs.uploaded': owner,
  'designs.repair': owner,
  'licences.list': anyUser,
  'licences.get': ownerOrHolder,
  'machines.list': anyUser,
  'prints.list': anyUser,
  'prints.get': ownerOrHolder,
  'objects.list': anyUser,
  'objects.get': ownerOrHolder,
  'objects.certificate': ownerOrHolder,
  'ledger.checkpoint': anyUser,
  'ledger.tile': anyUser,
  'ledger.openings': anyUser,
  'ledger.verify': anyUser,
  'checks.begin': administrator,
  'checks.get': administrator,
  'status.get': anyUser,
  'boxes.newest': 'yyyyy.yy...',
  'boxes.announce': proactive,
  // Addressed to the keys node.
  'mail.send': '......yff..',
  'mail.poll': proactive,
  'mail.acknowledge': proactive,
  'mail.release': proactive,
  'nodes.head': proactive,
  'nodes.deletions': proactive,
  'nodes.progress': '......y....',
  'nodes.maintenance': '.......y...',
  'machineCalls.next': '........y..',
  'machineCalls.callHome': '........y..',
  'machineCalls.report': '........y..',
};

/** With the ticket that control gives the owner. */
const ofDistribution: Readonly<Record<string, string>> = {
  'openapi.get': anyUser,
  'directory.newest': anyParty,
  'revocations.get': anyParty,
  'revocations.publish': anyUser,
  'uploads.put': owner,
  'uploads.list': 'fyfff.y....',
  'uploads.get': '......y....',
  'uploads.wipe': '......y....',
};

const byRoute: Readonly<Record<ServedNode, Readonly<Record<string, string>>>> = {
  control: ofControl,
  distribution: ofDistribution,
};

/** The same letters without ".". Mail is addressed to the keys node; the signer is the owner. */
const byAction: Readonly<Record<Action, string>> = {
  'api.read': 'yyyyyfffff',
  'directory.read': 'yyyyyyyyyy',
  'transaction.submit': 'fyffffffff',
  'user.register': 'yfffffffff',
  'machine.register': 'yfffffffff',
  'organisation.register': 'yfffffffff',
  'organisation.list': 'yyyyyfffff',
  'member.invite': 'yfffffffff',
  'member.list': 'yfffffffff',
  'device.invite': 'ffffffffff',
  'key.read': 'yyyyyfffff',
  'key.enrol': 'yyyyyfffff',
  'key.revoke': 'yfffffffff',
  'invitation.read': 'yyyyyfffff',
  'certificate.issue': 'yyyyyfffff',
  'revocation.read': 'yyyyyyyyyy',
  'revocation.publish': 'yyyyyfffff',
  'machine.read': 'yyyyyfffff',
  'design.list': 'yyyyyfffff',
  'design.add': 'fyffffffff',
  'design.read': 'fyffffffff',
  'design.upload': 'fyffffffff',
  'design.repair': 'fyffffffff',
  'design.delete': 'fyffffffff',
  'design.setMaintenance': 'fyffffffff',
  'licence.list': 'yyyyyfffff',
  'licence.read': 'fyfyffffff',
  'licence.grant': 'fyffffffff',
  'licence.resume': 'fyffffffff',
  'licence.setStatus': 'fyffffffff',
  'print.list': 'yyyyyfffff',
  'print.read': 'fyfyffffff',
  'print.readInFull': 'fyffffffff',
  'print.request': 'fffyffffff',
  'print.cancel': 'fffyffffff',
  'print.run': 'fffffyffff',
  'alarm.clear': 'fyffffffff',
  'ledger.read': 'yyyyyfffff',
  'vault.check': 'yfffffffff',
  'status.read': 'yyyyyfffff',
  'status.readDamaged': 'yfffffffff',
  'box.read': 'yyyyyfyyff',
  'box.announce': 'ffffffyyff',
  'mail.send': 'ffffffyffy',
  'mail.receive': 'ffffffyyff',
  'node.report': 'ffffffyyff',
  'progress.report': 'ffffffyfff',
  'deletion.list': 'ffffffyyff',
  'maintenance.report': 'fffffffyff',
  'machine.relay': 'ffffffffyf',
  'link.machine': 'fffffyffff',
  'link.node': 'ffffffyyff',
  'upload.write': 'fyffffffff',
  'upload.list': 'fyffffyfff',
  'upload.read': 'ffffffyfff',
  'upload.wipe': 'ffffffyfff',
};

/** The codes that allowed actors get, where the request of the test is not complete. */
const answered: Readonly<Record<string, string>> = {
  'enrolments.invitation': 'E_NOT_FOUND',
  'enrolments.enrol': 'E_SIGNATURE',
  'enrolments.certificate': 'E_STATE',
  'designs.private': 'E_NOT_FOUND',
  'checks.get': 'E_NOT_FOUND',
  'boxes.announce': 'E_SIGNATURE',
  'mail.send': 'E_UNAVAILABLE',
  'mail.poll': 'E_UNAVAILABLE',
  'machineCalls.callHome': 'E_SIGNATURE',
  'machineCalls.report': 'E_SIGNATURE',
};

let system: ApiFixture;
let requests: Readonly<Record<ServedNode, Readonly<Record<string, Asked>>>>;
beforeAll(async () => {
  system = await apiFixture();
  requests = { control: await controlRequests(system), distribution: await distributionRequests(system) };
});
afterAll(() => system?.close());

/** A request for each route that passes its schemas, for the resources of `owner` and `holder`. */
async function controlRequests({ design, licence, print, object, machine, keys, context }: ApiFixture) {
  const now = systemClock.now();
  const times = { id: systemRandom(16), issued: now, expires: now + 600_000 };
  const body: Transaction = { ...times, type: 'design.maintenance', design, mode: 'delta' };
  const transaction = toBase64(await signTransaction(keys.owner, context.directory.installation, body));
  const get = (path: string): Asked => ({ method: 'GET', path });
  const post = (path: string, json?: unknown): Asked => ({ method: 'POST', path, ...(json ? { json } : {}) });
  const cbor = (path: string, value: object): Asked => ({
    method: 'POST',
    path,
    body: encodeCbor(value as never),
  });
  const calls = `/v1/machines/${machine.machine}`;
  const organisation = toHex(systemRandom(16));
  const registered = { organisation, name: 'Brand', kinds: ['brand' as const], created: now };
  await context.records.organisations.create(organisation, { ...registered, document: new Uint8Array(9) });
  const key = keyName(keys.owner.publicKey);
  const maintenance = {
    ...{ epoch: 1, cells: 3, decoys: 3, designs: 1, periodMs: 1, reachedPeriodMs: 1, lastSweepMs: 7, progress: 1 },
    ...{ heldBackBy: 'no', moneyPerMonth: 0, problems: 0 },
  };
  return {
    'openapi.get': get('/v1/openapi.json'),
    'directory.newest': get('/v1/directory?after=2'),
    'transactions.submit': post('/v1/transactions', { transaction }),
    'organisations.list': get('/v1/organisations'),
    'organisations.keys': get(`/v1/organisations/${organisation}/keys`),
    'organisations.invitations': get(`/v1/organisations/${organisation}/invitations`),
    'keys.get': get(`/v1/keys/${key}`),
    'keys.documents': get(`/v1/keys/${key}/documents`),
    'enrolments.invitation': get(`/v1/invitations/${key}`),
    'enrolments.enrol': post('/v1/enrolments', { enrolment: 'AAAA' }),
    'enrolments.certificate': post('/v1/certificates', { request: 'AAAA' }),
    'revocations.get': get('/v1/revocations'),
    'revocations.publish': { method: 'POST', path: '/v1/revocations', body: new Uint8Array(9) },
    'designs.list': get('/v1/designs'),
    'designs.get': get(`/v1/designs/${design}`),
    'designs.private': get(`/v1/designs/${design}/private`),
    'designs.ticket': get(`/v1/designs/${design}/ticket`),
    'designs.uploaded': post(`/v1/designs/${design}/uploaded`),
    'designs.repair': post(`/v1/designs/${design}/repair`, { segments: [0] }),
    'licences.list': get('/v1/licences'),
    'licences.get': get(`/v1/licences/${licence}`),
    'machines.list': get('/v1/machines'),
    'prints.list': get('/v1/prints'),
    'prints.get': get(`/v1/prints/${print}`),
    'objects.list': get('/v1/objects'),
    'objects.get': get(`/v1/objects/${object}`),
    'objects.certificate': get(`/v1/objects/${object}/certificate`),
    'ledger.checkpoint': get('/v1/ledger/checkpoint'),
    'ledger.tile': get('/v1/ledger/tile/0/000.p/1'),
    'ledger.openings': get('/v1/ledger/openings'),
    'ledger.verify': get('/v1/ledger/verify'),
    'checks.begin': post('/v1/vault/checks', { deep: true }),
    'checks.get': get(`/v1/vault/checks/${toHex(systemRandom(16))}`),
    'status.get': get('/v1/status'),
    'boxes.newest': get('/v1/boxes/keys-1/attachments'),
    'boxes.announce': cbor('/v1/boxes/mail', { document: new Uint8Array(9), floor: 1 }),
    'mail.send': { method: 'POST', path: '/v1/mailbox/keys-1?id=x', body: new Uint8Array(200) },
    'mail.poll': get('/v1/mailbox?wait=0&consumer=x'),
    'mail.acknowledge': post('/v1/mailbox/acknowledge', { ids: ['x'] }),
    'mail.release': post('/v1/mailbox/release', { ids: ['x'] }),
    'nodes.head': post('/v1/head', { epoch: 1 }),
    'nodes.deletions': get('/v1/deletions'),
    'nodes.progress': post(`/v1/progress/${object}`, { acked: 1, revision: 1 }),
    'nodes.maintenance': post('/v1/maintenance', maintenance),
    'machineCalls.next': cbor(`${calls}/next`, { wait: 0 }),
    'machineCalls.callHome': cbor(`${calls}/call-home`, { request: new Uint8Array(9) }),
    'machineCalls.report': cbor(`${calls}/report`, { report: new Uint8Array(9) }),
  } satisfies Record<string, Asked>;
}

async function distributionRequests({ design, ask }: ApiFixture) {
  const node = 'distribution' as const;
  const { text } = await ask('owner', { method: 'GET', path: `/v1/designs/${design}/ticket` });
  const headers = { [TICKET_HEADER]: (JSON.parse(text) as { ticket: string }).ticket };
  const path = `/v1/uploads/${design}`;
  const segment = `${path}/0`;
  return {
    'openapi.get': { node, method: 'GET', path: '/v1/openapi.json' },
    'directory.newest': { node, method: 'GET', path: '/v1/directory?after=2' },
    'revocations.get': { node, method: 'GET', path: '/v1/revocations' },
    'revocations.publish': { node, method: 'POST', path: '/v1/revocations', body: new Uint8Array(9) },
    'uploads.put': { node, method: 'PUT', path: segment, body: new Uint8Array(SEGMENT_BYTES), headers },
    'uploads.list': { node, method: 'GET', path: `${path}?segments=1`, headers },
    'uploads.get': { node, method: 'GET', path: segment },
    'uploads.wipe': { node, method: 'DELETE', path },
  } satisfies Record<string, Asked>;
}

describe('every route', () => {
  it('has a row, and every row has a route', () => {
    for (const node of ['control', 'distribution'] as const) {
      const names = routes.filter(([of]) => of === node).map(([, name]) => name);
      expect(Object.keys(byRoute[node]).sort()).toEqual(names.sort());
      expect(Object.keys(requests[node]).sort()).toEqual(names.sort());
    }
  });

  it.each(routes.map(([node, name]) => [node, name] as const))(
    'of %s: %s is allowed for the actors of its row',
    async (node, name) => {
      const letters: string[] = [];
      for (const who of actors) {
        const { status, text } = await system.ask(who, requests[node][name] as Asked);
        const { code } = status < 400 ? { code: undefined } : (JSON.parse(text) as { code: string });
        letters.push(code === 'E_FORBIDDEN' ? 'f' : code === 'E_AUTH' ? '.' : 'y');
        if (letters.at(-1) === 'y') expect(code, `${who}: ${text.slice(0, 200)}`).toBe(answered[name]);
      }
      expect(letters.join('')).toBe(byRoute[node][name]);
      expect(system.undeclared).toEqual([]);
    },
  );

  it('of the directory answers 204 when the caller has the newest', async () => {
    for (const node of ['control', 'distribution'] as const) {
      const { status, text } = await system.ask('machine', { node, method: 'GET', path: '/v1/directory?after=3' });
      expect([status, text]).toEqual([204, '']);
    }
  });

  it('of lists shows only what the caller may see', async () => {
    const seen: Record<string, string> = {};
    for (const who of actors.slice(0, 5)) {
      const counts: number[] = [];
      for (const list of ['designs', 'licences', 'prints', 'objects']) {
        const { text } = await system.ask(who, { method: 'GET', path: `/v1/${list}` });
        counts.push((JSON.parse(text) as { items: unknown[] }).items.length);
      }
      seen[who] = counts.join(' ');
    }
    expect(seen).toEqual({
      admin: '0 0 0 0',
      owner: '1 1 1 1',
      otherOwner: '0 0 0 0',
      holder: '0 1 1 1',
      otherHolder: '0 0 0 0',
    });
  });
});

describe('ledger openings', () => {
  const accountsOf = async (who: ActorName) => {
    const { text } = await system.ask(who, { method: 'GET', path: '/v1/ledger/openings?limit=200' });
    const { items } = JSON.parse(text) as { items: { index: number; opening: string }[] };
    return new Set(items.map(({ index, opening }) => decodeOpening(fromBase64(opening), index).event.account));
  };

  it('are limited to the accounts that the caller may read; machines are for every user', async () => {
    const { machine, design, licence, object, context } = system;
    const account = `design:${design}`;
    await context.ledger.append({ account, type: 'stored', actor: 'owner', body: {}, eventId: 'stored' });
    const machines = [`machine:${machine.machine}`];
    const shared = [...machines, `licence:${licence}`, object];
    expect(await accountsOf('owner')).toEqual(new Set([...shared, account]));
    expect(await accountsOf('holder')).toEqual(new Set(shared));
    for (const who of ['admin', 'otherOwner', 'otherHolder'] as const)
      expect(await accountsOf(who)).toEqual(new Set(machines));
  });

  it('are paged from a given index', async () => {
    const pages: number[][] = [];
    let next: string | undefined = '0';
    while (next !== undefined) {
      const { text } = await system.ask('owner', {
        method: 'GET',
        path: `/v1/ledger/openings?limit=1&cursor=${next}`,
      });
      const page = JSON.parse(text) as { items: { index: number }[]; next?: string };
      pages.push(page.items.map(({ index }) => index));
      ({ next } = page);
    }
    expect(pages.flat()).toEqual(Array.from({ length: system.context.ledger.size }, (_, i) => i));
    expect(Math.max(...pages.map(({ length }) => length))).toBe(1);
    for (const cursor of ['-1', '01', 'x', '99999999999999999'])
      expect((await system.ask('owner', { method: 'GET', path: `/v1/ledger/openings?cursor=${cursor}` })).status).toBe(
        400,
      );
  });
});

describe('every action', () => {
  it('has a row', () => {
    expect(Object.keys(byAction).sort()).toEqual([...actions].sort());
  });

  it('of a link is allowed for the declared callers', () => {
    for (const { action, callers } of Object.values(distributionLinks))
      for (const role of ['machine', 'segments', 'keys', 'distribution', 'control'] as const)
        expect(permits(role === 'machine' ? { role, name: 'm' } : { role, id: role }, action), role).toBe(
          callers.some((caller) => caller === role),
        );
  });

  it.each(actions)('%s is allowed for the actors of its row', (action) => {
    const { keys, context, machine } = system;
    const name = (user: 'owner' | 'holder' | 'admin') => keyName(keys[user].publicKey);
    const user = (key: string) => userActor(context.directory, key);
    const parties: Record<Exclude<ActorName, 'anonymous'>, Actor> = {
      admin: user(name('admin')),
      owner: user(name('owner')),
      otherOwner: user('11'.repeat(16)),
      holder: user(name('holder')),
      otherHolder: user('22'.repeat(16)),
      machine: { role: 'machine', name: machine.machine },
      segments: { role: 'segments', id: 'segments' },
      keys: { role: 'keys', id: 'keys' },
      distribution: { role: 'distribution', id: 'distribution' },
      control: { role: 'control', id: 'control' },
    };
    const resource = {
      owner: name('owner'),
      holder: name('holder'),
      signer: name('owner'),
      machine: machine.machine,
      recipient: 'keys',
    } as const;
    const letters = Object.values(parties).map((actor) => (permits(actor, action, resource) ? 'y' : 'f'));
    expect(letters.join('')).toBe(byAction[action]);
    // For a resource without an owner nobody may do more.
    const more = Object.values(parties).filter((actor) => permits(actor, action) && !permits(actor, action, resource));
    expect(more).toEqual([]);
  });
});

/** What each role allows people of organisations, in their own organisation and in another. */
describe('people of organisations', () => {
  const [brand, bureau] = ['aa'.repeat(16), 'bb'.repeat(16)];
  const me = 'cc'.repeat(16);
  const roles = ['owner-admin', 'designer', 'operator', 'auditor'] as const;
  /** One letter for each of `roles`, then for a key that the administrator registered directly, then for a guest. */
  const cells: readonly (readonly [Action, string, Resource, string])[] = [
    ['organisation.register', 'any', {}, 'ffffff'],
    ['organisation.list', 'any', {}, 'yyyyyf'],
    ['member.invite', 'the own organisation', { organisation: brand }, 'yfffff'],
    ['member.invite', 'another organisation', { organisation: bureau }, 'ffffff'],
    ['member.invite', 'no organisation', {}, 'ffffff'],
    ['member.list', 'the own organisation', { organisation: brand }, 'yyyyff'],
    ['member.list', 'another organisation', { organisation: bureau }, 'ffffff'],
    ['device.invite', 'oneself', { organisation: brand }, 'yyyyff'],
    ['key.revoke', 'the own organisation', { organisation: brand }, 'yfffff'],
    ['key.revoke', 'another organisation', { organisation: bureau }, 'ffffff'],
    ['key.revoke', 'no organisation', {}, 'ffffff'],
    ['key.enrol', 'any', {}, 'yyyyyy'],
    ['invitation.read', 'any', {}, 'yyyyyy'],
    ['certificate.issue', 'any', {}, 'yyyyyy'],
    ['revocation.read', 'any', {}, 'yyyyyf'],
    ['revocation.publish', 'any', {}, 'yyyyyf'],
    ['design.add', 'an own design', { owner: me }, 'fyffyf'],
    ['design.add', 'a design of somebody else', { owner: 'dd'.repeat(16) }, 'ffffff'],
    ['licence.grant', 'an own design', { owner: me }, 'fyffyf'],
    ['licence.grant', 'a design of somebody else', { owner: 'dd'.repeat(16) }, 'ffffff'],
    ['print.request', 'an own licence', { holder: me }, 'ffyfyf'],
    ['print.request', 'a licence of somebody else', { holder: 'dd'.repeat(16) }, 'ffffff'],
    ['user.register', 'any', {}, 'ffffff'],
    ['machine.register', 'any', {}, 'ffffff'],
    ['vault.check', 'any', {}, 'ffffff'],
    ['ledger.read', 'any', {}, 'yyyyyf'],
  ];

  it.each(cells)('%s of %s', (action, _what, resource, letters) => {
    const person = { role: 'user', name: me, admin: false } as const;
    const members = roles.map((role): Actor => ({ ...person, member: { organisation: brand, roles: [role] } }));
    const all: Actor[] = [...members, person, guest];
    expect(all.map((actor) => (permits(actor, action, resource) ? 'y' : 'f')).join('')).toBe(letters);
  });

  it('a guest may only enrol', () => {
    const allowed = actions.filter((action) => permits(guest, action, { organisation: brand, owner: me, holder: me }));
    expect(allowed).toEqual(['directory.read', 'key.enrol', 'invitation.read', 'certificate.issue']);
  });
});
