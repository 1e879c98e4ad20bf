import { TICKET_HEADER } from '@millrace/api';
import { encodeCbor, fromBase64, systemClock, systemRandom, toBase64, toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { decodeOpening } from '@millrace/ledger';
import { printCommands, signTransaction, type Transaction } from '@millrace/protocol';
import { SEGMENT_BYTES } from '@millrace/vault';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type ActorName,
  type ApiFixture,
  type Asked,
  actors,
  apiFixture,
  routes,
  type ServedNode,
} from './api-fixture.ts';

// Authorisation of every declared route for every kind of actor, over HTTP, and what lists and the ledger show to each.
// A route without a row fails the test.

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
  'directory.publish': administrator,
  'installation.get': anyUser,
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
  'enrolments.signIn': anyUser,
  'organisations.tokens': administrator,
  'organisations.signIns': administrator,
  'organisations.webhooks': administrator,
  'webhooks.list': anyUser,
  'webhooks.messages': owner,
  'tokens.list': anyUser,
  'tokens.current': anyUser,
  'revocations.get': anyParty,
  'revocations.publish': anyUser,
  'designs.list': anyUser,
  'designs.get': owner,
  'designs.private': owner,
  'designs.share': owner,
  'designs.ticket': owner,
  'designs.uploaded': owner,
  'designs.repair': owner,
  'licences.list': anyUser,
  'licences.get': ownerOrHolder,
  'licences.documents': ownerOrHolder,
  'pairings.offer': anyUser,
  'pairings.get': anyUser,
  'pairings.answer': anyUser,
  'pairings.list': administrator,
  'pairings.admit': administrator,
  'usage.list': anyUser,
  'usage.totals': administrator,
  'machines.list': anyUser,
  'machines.odometer': 'yyfyf......',
  // Nobody holds the machine.
  'machines.picture': 'fffff......',
  'groups.list': anyUser,
  'groups.get': anyUser,
  'materials.list': anyUser,
  'spools.list': anyUser,
  'spools.statements': anyUser,
  'events.stream': anyUser,
  'prints.list': anyUser,
  'prints.get': ownerOrHolder,
  // Signed by the holder. The owner may command too, but not submit what somebody else has signed.
  'prints.pause': 'fffyf......',
  'prints.resume': 'fffyf......',
  'prints.cancel': 'fffyf......',
  'prints.stop': 'fffyf......',
  'visits.list': anyUser,
  'visits.get': 'yffyf......',
  'settings.get': administrator,
  'rehearsals.list': anyUser,
  'rehearsals.get': ownerOrHolder,
  'cases.list': anyUser,
  'cases.get': ownerOrHolder,
  'cases.evidence': ownerOrHolder,
  'objects.list': anyUser,
  'objects.get': ownerOrHolder,
  'objects.certificate': ownerOrHolder,
  'ledger.checkpoint': anyUser,
  'ledger.tile': anyUser,
  'ledger.openings': anyUser,
  'ledger.map': ownerOrHolder,
  'ledger.verify': anyUser,
  'checks.begin': administrator,
  'checks.get': administrator,
  'status.get': anyUser,
  'metrics.read': administrator,
  'metrics.report': '......yyy..',
  'boxes.newest': 'yyyyy.yy...',
  'boxes.announce': proactive,
  // Addressed to the keys node.
  'mail.send': '......yff..',
  'mail.poll': proactive,
  'active.health': 'yyyyy.yyyy.',
  'active.sharedKeys': '.........y.',
  'mail.acknowledge': proactive,
  'mail.release': proactive,
  'nodes.head': proactive,
  'nodes.deletions': proactive,
  'nodes.progress': '......y....',
  'nodes.maintenance': '.......y...',
  'machineCalls.next': '........y..',
  'machineCalls.callHome': '........y..',
  'machineCalls.report': '........y..',
  'machineCalls.command': '........y..',
  'machineCalls.commanded': '........y..',
  'machineCalls.look': '........y..',
  'machineCalls.looked': '........y..',
  'visas.give': '........y..',
  'visitorCalls.callHome': '........y..',
  'visitorCalls.report': '........y..',
};

/** With the ticket that control gives the owner. */
const ofDistribution: Readonly<Record<string, string>> = {
  'openapi.get': anyUser,
  'directory.newest': anyParty,
  'directory.publish': administrator,
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

/** The codes that allowed actors get, where the request of the test is not complete. */
const answered: Readonly<Record<string, string>> = {
  'enrolments.invitation': 'E_NOT_FOUND',
  'enrolments.enrol': 'E_SIGNATURE',
  'enrolments.certificate': 'E_STATE',
  'enrolments.signIn': 'E_NOT_FOUND',
  'tokens.current': 'E_NOT_FOUND',
  'pairings.get': 'E_NOT_FOUND',
  'pairings.answer': 'E_NOT_FOUND',
  'pairings.admit': 'E_NOT_FOUND',
  'designs.private': 'E_NOT_FOUND',
  'cases.evidence': 'E_NOT_FOUND',
  'machines.odometer': 'E_NOT_FOUND',
  'designs.share': 'E_NOT_FOUND',
  'checks.get': 'E_NOT_FOUND',
  'boxes.announce': 'E_SIGNATURE',
  'mail.send': 'E_UNAVAILABLE',
  'mail.poll': 'E_UNAVAILABLE',
  // Control has its state in its folder.
  'active.sharedKeys': 'E_STATE',
  'prints.pause': 'E_INPUT',
  'prints.resume': 'E_INPUT',
  'prints.cancel': 'E_INPUT',
  'prints.stop': 'E_INPUT',
  'machineCalls.callHome': 'E_SIGNATURE',
  'machineCalls.report': 'E_SIGNATURE',
  'visas.give': 'E_SIGNATURE',
  // The machine belongs to this cloud.
  'visitorCalls.callHome': 'E_MACHINE_UNKNOWN',
  'visitorCalls.report': 'E_MACHINE_UNKNOWN',
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
  const transactionBytes = await signTransaction(keys.owner, context.directory.installation, body);
  const transaction = toBase64(transactionBytes);
  // Of another print: whoever may submit it is told so.
  const command: Transaction = {
    ...times,
    id: systemRandom(16),
    type: 'print.command',
    print: design,
    command: 'pause',
  };
  const commanded = await signTransaction(keys.holder, context.directory.installation, command);
  const get = (path: string): Asked => ({ method: 'GET', path });
  const post = (path: string, json?: unknown): Asked => ({ method: 'POST', path, ...(json ? { json } : {}) });
  const cbor = (path: string, value: object): Asked => ({
    method: 'POST',
    path,
    body: encodeCbor(value as never),
  });
  const calls = `/v1/machines/${machine.machine}`;
  const visitors = `/v1/visitors/${toHex(systemRandom(16))}/${machine.machine}`;
  const visit = toHex(systemRandom(16));
  await context.records.visits.create(visit, {
    ...{ visit, cloud: visit, print, licence, machine: machine.machine, visitor: keyName(keys.holder.publicKey) },
    ...{ created: now, startBy: now, state: 'cancelled', transaction: new Uint8Array(9) },
  });
  const { owner: asOwner, holder: asHolder } = await context.records.prints.require(print);
  await context.records.settings.put(machine.machine, {
    ...{ machine: machine.machine, organisation: visit, id: visit, number: 1, created: now, state: 'pending' },
    ...{ transaction: new Uint8Array(transactionBytes), credential: new Uint8Array(9) },
  });
  await context.records.rehearsals.create(visit, {
    ...{ rehearsal: visit, licence, design: visit, machine: machine.machine, owner: asOwner, holder: asHolder },
    ...{ created: now, startBy: now, state: 'queued', credential: new Uint8Array(9) },
    transaction: new Uint8Array(transactionBytes),
  });
  const organisation = toHex(systemRandom(16));
  const registered = { organisation, name: 'Brand', kinds: ['brand' as const], created: now };
  await context.records.organisations.create(organisation, { ...registered, document: new Uint8Array(9) });
  await context.records.groups.create(organisation, {
    ...{ group: organisation, organisation, kind: 'site', name: 'Hall 1', number: 1, machines: [], id: organisation },
    ...{ transaction: new Uint8Array(transactionBytes), credential: new Uint8Array(9), announced: true },
  });
  const { owner: by, holder } = await context.records.prints.require(print);
  const document = { transaction: new Uint8Array(transactionBytes), credential: new Uint8Array(9), announced: true };
  const failure = { object, print, licence, design, owner: by, holder, created: now, report: document };
  await context.records.cases.create(object, { ...failure, reason: 'other', state: 'open' });
  const key = keyName(keys.owner.publicKey);
  const webhook = toHex(systemRandom(16));
  await context.records.webhooks.create(webhook, {
    ...{ webhook, name: 'erp', url: 'https://erp.example', key, created: now, secret: new Uint8Array(32) },
    document: new Uint8Array(9),
  });
  const maintenance = {
    ...{ epoch: 1, cells: 3, decoys: 3, designs: 1, periodMs: 1, reachedPeriodMs: 1, lastSweepMs: 7, progress: 1 },
    ...{ heldBackBy: 'no', moneyPerMonth: 0, problems: 0 },
  };
  return {
    'openapi.get': get('/v1/openapi.json'),
    'directory.newest': get('/v1/directory?after=2'),
    'installation.get': get('/v1/installation'),
    'transactions.submit': post('/v1/transactions', { transaction }),
    'organisations.list': get('/v1/organisations'),
    'organisations.keys': get(`/v1/organisations/${organisation}/keys`),
    'organisations.invitations': get(`/v1/organisations/${organisation}/invitations`),
    'enrolments.signIn': get(`/v1/organisations/${organisation}/sign-in`),
    'organisations.tokens': get(`/v1/organisations/${organisation}/tokens`),
    'organisations.signIns': get(`/v1/organisations/${organisation}/sign-ins`),
    'organisations.webhooks': get(`/v1/organisations/${organisation}/webhooks`),
    'webhooks.list': get('/v1/webhooks'),
    'webhooks.messages': get(`/v1/webhooks/${webhook}/messages`),
    'tokens.list': get('/v1/tokens'),
    'tokens.current': get('/v1/tokens/current'),
    'keys.get': get(`/v1/keys/${key}`),
    'keys.documents': get(`/v1/keys/${key}/documents`),
    'enrolments.invitation': get(`/v1/invitations/${key}`),
    'enrolments.enrol': post('/v1/enrolments', { enrolment: 'AAAA' }),
    'enrolments.certificate': post('/v1/certificates', { request: 'AAAA' }),
    'directory.publish': post('/v1/directory', { directory: {}, signature: '' }),
    'revocations.get': get('/v1/revocations'),
    'revocations.publish': { method: 'POST', path: '/v1/revocations', body: new Uint8Array(9) },
    'designs.list': get('/v1/designs'),
    'designs.get': get(`/v1/designs/${design}`),
    'designs.private': get(`/v1/designs/${design}/private`),
    'designs.share': get(`/v1/designs/${design}/share`),
    'designs.ticket': get(`/v1/designs/${design}/ticket`),
    'designs.uploaded': post(`/v1/designs/${design}/uploaded`),
    'designs.repair': post(`/v1/designs/${design}/repair`, { segments: [0] }),
    'licences.list': get('/v1/licences'),
    'licences.get': get(`/v1/licences/${licence}`),
    'licences.documents': get(`/v1/licences/${licence}/documents`),
    'pairings.offer': { method: 'PUT', path: `/v1/pairings/${key}`, json: { offer: 'AAAA' } },
    'pairings.get': get(`/v1/pairings/${design}`),
    'pairings.answer': post(`/v1/pairings/${design}/answer`, { answer: 'AAAA' }),
    'pairings.list': get('/v1/pairings'),
    'pairings.admit': post(`/v1/pairings/${design}/certificate`, { certificate: '' }),
    'usage.list': get('/v1/usage'),
    'usage.totals': get('/v1/usage/totals'),
    'machines.list': get('/v1/machines'),
    'machines.odometer': get(`/v1/machines/${machine.machine}/odometer`),
    'groups.list': get('/v1/groups'),
    'groups.get': get(`/v1/groups/${organisation}`),
    'materials.list': get('/v1/materials'),
    'spools.list': get('/v1/spools'),
    'spools.statements': get(`/v1/machines/${machine.machine}/spools`),
    'events.stream': get('/v1/events?seconds=0'),
    'prints.list': get('/v1/prints'),
    'prints.get': get(`/v1/prints/${print}`),
    ...Object.fromEntries(
      printCommands.map((name) => [
        `prints.${name}`,
        { method: 'PUT', path: `/v1/prints/${print}/${name}`, json: { transaction: toBase64(commanded) } },
      ]),
    ),
    'visits.list': get('/v1/visits'),
    'visits.get': get(`/v1/visits/${visit}`),
    'settings.get': get(`/v1/machines/${machine.machine}/settings`),
    'machines.picture': post(`/v1/machines/${machine.machine}/camera`, { watch: transaction, nonce: design }),
    'rehearsals.list': get('/v1/rehearsals'),
    'rehearsals.get': get(`/v1/rehearsals/${visit}`),
    'cases.list': get('/v1/cases'),
    'cases.get': get(`/v1/cases/${object}`),
    'cases.evidence': get(`/v1/cases/${object}/evidence`),
    'objects.list': get('/v1/objects'),
    'objects.get': get(`/v1/objects/${object}`),
    'objects.certificate': get(`/v1/objects/${object}/certificate`),
    'ledger.checkpoint': get('/v1/ledger/checkpoint'),
    'ledger.tile': get('/v1/ledger/tile/0/000.p/1'),
    'ledger.openings': get('/v1/ledger/openings'),
    'ledger.map': post('/v1/ledger/map', { size: 0, accounts: [object] }),
    'ledger.verify': get('/v1/ledger/verify'),
    'checks.begin': post('/v1/vault/checks', { deep: true }),
    'checks.get': get(`/v1/vault/checks/${toHex(systemRandom(16))}`),
    'status.get': get('/v1/status'),
    'metrics.read': get('/v1/metrics'),
    'metrics.report': post('/v1/metrics', { samples: [] }),
    'boxes.newest': get('/v1/boxes/keys-1/attachments'),
    'boxes.announce': cbor('/v1/boxes/mail', { document: new Uint8Array(9), floor: 1 }),
    'mail.send': { method: 'POST', path: '/v1/mailbox/keys-1?id=x', body: new Uint8Array(200) },
    'active.health': get('/healthz'),
    'active.sharedKeys': { method: 'POST', path: '/v1/control-keys' },
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
    'machineCalls.command': cbor(`${calls}/command`, { wait: 0, print }),
    'machineCalls.commanded': cbor(`${calls}/commanded`, { command: print }),
    'machineCalls.look': cbor(`${calls}/look`, { wait: 0 }),
    'machineCalls.looked': cbor(`${calls}/looked`, { look: print, picture: new Uint8Array(9) }),
    'visas.give': cbor(`${calls}/visa`, { request: new Uint8Array(9) }),
    'visitorCalls.callHome': cbor(`${visitors}/call-home`, {
      request: new Uint8Array(9),
      visit: { visa: new Uint8Array(9), request: new Uint8Array(9), key: new Uint8Array(9) },
    }),
    'visitorCalls.report': cbor(`${visitors}/report`, { report: new Uint8Array(9) }),
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
    'directory.publish': { node, method: 'POST', path: '/v1/directory', json: { directory: {}, signature: '' } },
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

  it('are limited to the accounts that the caller may read; machines and the map are for every user', async () => {
    const { machine, design, licence, object, context } = system;
    const account = `design:${design}`;
    await context.ledger.append({ account, type: 'stored', actor: 'owner', body: {}, eventId: 'stored' });
    await context.ledger.logMap();
    const machines = [`machine:${machine.machine}`, 'map'];
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
