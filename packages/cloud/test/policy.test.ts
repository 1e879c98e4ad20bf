import { type Action, actions, distributionLinks } from '@millrace/api';
import { keyName } from '@millrace/identity';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Actor, guest, permits, type Resource, userActor } from '../src/node/policy.ts';
import { type ActorName, type ApiFixture, apiFixture } from './api-fixture.ts';

// Authorisation of every action for every kind of actor. An action without a row fails the test.

/**
 * A letter for each of `actors` but the last: y allowed, f rejected. Mail is addressed to the keys node; the signer is
 * the owner.
 */
const byAction: Readonly<Record<Action, string>> = {
  'api.read': 'yyyyyfffff',
  'directory.read': 'yyyyyyyyyy',
  'directory.publish': 'yfffffffff',
  'control.join': 'fffffffffy',
  'transaction.submit': 'fyffffffff',
  'user.register': 'yfffffffff',
  'machine.register': 'yfffffffff',
  'machine.introduce': 'yyyyyfffff',
  'pairing.offer': 'yyyyyfffff',
  'pairing.answer': 'yyyyyfffff',
  'pairing.admit': 'yfffffffff',
  'organisation.register': 'yfffffffff',
  'organisation.list': 'yyyyyfffff',
  'organisation.setSignIn': 'yfffffffff',
  'signIn.read': 'yyyyyfffff',
  'member.invite': 'yfffffffff',
  'member.list': 'yfffffffff',
  'device.invite': 'ffffffffff',
  'key.read': 'yyyyyfffff',
  'key.enrol': 'yyyyyfffff',
  'key.revoke': 'yfffffffff',
  'invitation.read': 'yyyyyfffff',
  'certificate.issue': 'yyyyyfffff',
  'session.open': 'yyyyyfffff',
  'upload.open': 'ffffffffff',
  'session.read': 'yyyyyfffff',
  'session.close': 'yyyyyfffff',
  'usage.list': 'yyyyyfffff',
  'usage.read': 'fyfyffffff',
  'usage.total': 'yfffffffff',
  'token.create': 'yyyyyfffff',
  'token.list': 'yyyyyfffff',
  'token.listAll': 'yfffffffff',
  'session.list': 'yfffffffff',
  'token.readCurrent': 'yyyyyfffff',
  // Made by the owner.
  'token.revoke': 'yyffffffff',
  'webhook.create': 'yyyyyfffff',
  'webhook.list': 'yyyyyfffff',
  'webhook.listAll': 'yfffffffff',
  // Made by the owner.
  'webhook.read': 'fyffffffff',
  'webhook.change': 'fyffffffff',
  'webhook.set': 'yyffffffff',
  'revocation.read': 'yyyyyyyyyy',
  'revocation.publish': 'yyyyyfffff',
  'machine.read': 'yyyyyfffff',
  'machine.assign': 'yfffffffff',
  'group.list': 'yyyyyfffff',
  // No actor here belongs to the organisation.
  'group.set': 'ffffffffff',
  'settings.read': 'yfffffffff',
  'settings.set': 'ffffffffff',
  'camera.watch': 'ffffffffff',
  // Nobody here belongs to a supplier.
  'material.certify': 'ffffffffff',
  'material.list': 'yyyyyfffff',
  'spool.load': 'yyyyyfffff',
  // The administrator, and whoever has loaded it.
  'spool.unload': 'yffyffffff',
  'spool.list': 'yyyyyfffff',
  'odometer.read': 'yyfyffffff',
  'design.list': 'yyyyyfffff',
  'design.add': 'fyffffffff',
  'design.read': 'fyffffffff',
  'design.open': 'fyffffffff',
  'design.share': 'fyffffffff',
  'design.upload': 'fyffffffff',
  'design.repair': 'fyffffffff',
  'design.delete': 'fyffffffff',
  'design.setMaintenance': 'fyffffffff',
  'licence.list': 'yyyyyfffff',
  'licence.read': 'fyfyffffff',
  'licence.grant': 'fyffffffff',
  'licence.approve': 'fyffffffff',
  'licence.extend': 'fyffffffff',
  'licence.transfer': 'fffyffffff',
  'licence.resume': 'fyffffffff',
  'licence.setStatus': 'fyffffffff',
  'event.read': 'yyyyyfffff',
  'print.list': 'yyyyyfffff',
  'print.read': 'fyfyffffff',
  'print.readInFull': 'fyffffffff',
  'print.request': 'fffyffffff',
  'print.cancel': 'fffyffffff',
  'print.moveFirst': 'fffyffffff',
  'print.pause': 'fyfyffffff',
  'print.resume': 'fyfyffffff',
  'print.end': 'fyfyffffff',
  'print.stop': 'fffyffffff',
  'print.run': 'fffffyffff',
  'settings.report': 'fffffyffff',
  'rehearsal.list': 'yyyyyfffff',
  'rehearsal.read': 'fyfyffffff',
  'rehearsal.request': 'fffyffffff',
  'rehearsal.run': 'fffffyffff',
  'visit.list': 'yyyyyfffff',
  'visit.read': 'yffyffffff',
  'visit.request': 'yyyyyfffff',
  'visit.cancel': 'fffyffffff',
  'visit.run': 'fffffyffff',
  'case.report': 'fffyffffff',
  'case.list': 'yyyyyfffff',
  'case.read': 'fyfyffffff',
  'case.decide': 'fyffffffff',
  // The holder owns the part, and the owner of the design is offered it.
  'object.read': 'fyfyffffff',
  'object.transfer': 'fffyffffff',
  'object.accept': 'fyffffffff',
  'object.appoint': 'fffyffffff',
  'object.inspect': 'fffyffffff',
  'object.retire': 'fffyffffff',
  'alarm.clear': 'fyffffffff',
  'ledger.read': 'yyyyyfffff',
  'vault.check': 'yfffffffff',
  'status.read': 'yyyyyfffff',
  'status.readDamaged': 'yfffffffff',
  'metrics.read': 'yfffffffff',
  'metrics.report': 'ffffffyyyf',
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

let system: ApiFixture;
beforeAll(async () => {
  system = await apiFixture();
});
afterAll(() => system?.close());

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
      user: name('owner'),
      machine: machine.machine,
      recipient: 'keys',
      partOwner: name('holder'),
      offeredTo: name('owner'),
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
  /** Of a design or licence of the actor's organisation, of a key alone (the actor's), and of others. */
  const parties = (side: 'owner' | 'holder' | 'partOwner' | 'offeredTo') =>
    [
      ['the own organisation', { [side]: brand }, true, false],
      ['the own key', { [side]: me }, true, true],
      ['another organisation', { [side]: bureau }, false, false],
      ['another key', { [side]: 'dd'.repeat(16) }, false, false],
      ['nobody', {}, false, false],
    ] as const;
  const relation = { owner: 'owns', holder: 'holds', partOwner: 'owns as a part', offeredTo: 'is offered' } as const;
  type Cell = readonly [Action, string, Resource, string];
  /** @param allowed letters for `roles` */
  const cellsOf = (
    side: 'owner' | 'holder' | 'partOwner' | 'offeredTo',
    allowed: readonly (readonly [Action, string])[],
  ): Cell[] =>
    allowed.flatMap(([action, letters]) =>
      parties(side).map(
        ([what, resource, own, alone]): Cell => [
          action,
          `what ${what} ${relation[side]}`,
          resource,
          // A key alone has every role.
          `${own ? letters : 'ffff'}${alone && letters.includes('y') ? 'y' : 'f'}f`,
        ],
      ),
    );
  const [designer, operator] = ['fyff', 'ffyf'];
  const ownerCells = cellsOf('owner', [
    ...(
      [
        'design.add',
        'design.open',
        'design.share',
        'design.upload',
        'design.repair',
        'design.delete',
        'design.setMaintenance',
        'licence.grant',
        'licence.approve',
        'licence.extend',
        'licence.resume',
        'licence.setStatus',
        'case.decide',
        'alarm.clear',
      ] as const
    ).map((action) => [action, designer] as const),
    ...(['design.read', 'licence.read', 'print.read', 'print.readInFull', 'case.read', 'usage.read'] as const).map(
      (action) => [action, 'yyfy'] as const,
    ),
    ['print.request', 'ffff'],
    ['print.cancel', 'ffff'],
    ['print.moveFirst', 'ffff'],
    ...(['print.pause', 'print.resume', 'print.end'] as const).map((action) => [action, designer] as const),
    ['print.stop', 'ffff'],
    ['case.report', 'ffff'],
  ]);
  const holderCells = cellsOf('holder', [
    ['print.request', operator],
    ['case.report', operator],
    ['case.read', 'yfyy'],
    ['case.decide', 'ffff'],
    ['print.cancel', operator],
    ['print.moveFirst', operator],
    ...(['print.pause', 'print.resume', 'print.end', 'print.stop'] as const).map(
      (action) => [action, operator] as const,
    ),
    ['spool.unload', operator],
    ['licence.transfer', operator],
    ['licence.read', 'yfyy'],
    ['odometer.read', 'yfyy'],
    ['usage.read', 'yfyy'],
    ['print.read', 'yfyy'],
    ['print.readInFull', 'ffff'],
    ['design.read', 'ffff'],
    ['licence.grant', 'ffff'],
    ['licence.setStatus', 'ffff'],
    ['alarm.clear', 'ffff'],
  ]);

  const partCells = [
    ...cellsOf('partOwner', [
      ['object.read', 'yfyy'],
      ['object.transfer', operator],
      ['object.appoint', operator],
      ['object.inspect', operator],
      ['object.retire', operator],
      ['object.accept', 'ffff'],
      ['print.read', 'ffff'],
    ]),
    ...cellsOf('offeredTo', [
      ['object.read', 'yfyy'],
      ['object.accept', operator],
      ['object.transfer', 'ffff'],
      ['object.inspect', 'ffff'],
    ]),
    // An inspector signs as a certifier, who is in no column here.
    ['object.inspect', 'what the own organisation inspects', { inspectors: [bureau, brand] }, 'ffffff'],
    ['object.inspect', 'what the own key inspects', { inspectors: [me] }, 'ffffyf'],
    ['object.read', 'what the own organisation inspects', { inspectors: [bureau, brand] }, 'yffyff'],
    ['object.read', 'what another organisation inspects', { inspectors: [bureau] }, 'ffffff'],
  ] as const;

  /** One letter for each of `roles`, then for a key that the administrator registered directly, then for a guest. */
  const cells: readonly (readonly [Action, string, Resource, string])[] = [
    ['organisation.register', 'any', {}, 'ffffff'],
    ['organisation.list', 'any', {}, 'yyyyyf'],
    ['organisation.setSignIn', 'the own organisation', { organisation: brand }, 'yfffff'],
    ['organisation.setSignIn', 'another organisation', { organisation: bureau }, 'ffffff'],
    ['organisation.setSignIn', 'no organisation', {}, 'ffffff'],
    ['signIn.read', 'any', {}, 'yyyyyy'],
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
    ['token.create', 'any', {}, 'yyyyyf'],
    ['token.list', 'any', {}, 'yyyyyf'],
    ['token.listAll', 'the own organisation', { organisation: brand }, 'yfffff'],
    ['session.list', 'the own organisation', { organisation: brand }, 'yfffff'],
    ['session.list', 'another organisation', { organisation: bureau }, 'ffffff'],
    ['token.listAll', 'another organisation', { organisation: bureau }, 'ffffff'],
    ['token.listAll', 'no organisation', {}, 'ffffff'],
    ['token.revoke', 'an own token', { signer: me, organisation: brand }, 'yyyyyf'],
    ['token.revoke', 'a token of the organisation', { signer: 'dd'.repeat(16), organisation: brand }, 'yfffff'],
    ['token.revoke', 'a token of another organisation', { signer: 'dd'.repeat(16), organisation: bureau }, 'ffffff'],
    ['webhook.create', 'any', {}, 'yyyyyf'],
    ['webhook.list', 'any', {}, 'yyyyyf'],
    ['webhook.listAll', 'the own organisation', { organisation: brand }, 'yfffff'],
    ['webhook.listAll', 'another organisation', { organisation: bureau }, 'ffffff'],
    ...(['webhook.read', 'webhook.set'] as const).flatMap(
      (action) =>
        [
          [action, 'an own webhook', { signer: me, organisation: brand }, 'yyyyyf'],
          [action, 'a webhook of the organisation', { signer: 'dd'.repeat(16), organisation: brand }, 'yfffff'],
          [action, 'a webhook of another organisation', { signer: 'dd'.repeat(16), organisation: bureau }, 'ffffff'],
        ] as const,
    ),
    ['webhook.change', 'an own webhook', { signer: me, organisation: brand }, 'yyyyyf'],
    ['webhook.change', 'a webhook of the organisation', { signer: 'dd'.repeat(16), organisation: brand }, 'ffffff'],
    ['revocation.read', 'any', {}, 'yyyyyf'],
    ['revocation.publish', 'any', {}, 'yyyyyf'],
    ['directory.publish', 'any', {}, 'ffffff'],
    ['machine.assign', 'any', { organisation: brand }, 'ffffff'],
    ['group.list', 'any', {}, 'yyyyyf'],
    ['group.set', 'the own organisation', { organisation: brand }, 'yfyfff'],
    ['group.set', 'another organisation', { organisation: bureau }, 'ffffff'],
    ['group.set', 'no organisation', {}, 'ffffff'],
    ['spool.load', 'any', {}, 'ffyfyf'],
    ['pairing.offer', 'any', {}, 'yyyyyy'],
    ['pairing.answer', 'any', {}, 'ffyfyf'],
    ['pairing.admit', 'any', {}, 'ffffff'],
    ['spool.list', 'any', {}, 'yyyyyf'],
    ...ownerCells,
    ...holderCells,
    ...partCells,
    ['user.register', 'any', {}, 'ffffff'],
    ['machine.register', 'any', {}, 'ffffff'],
    ['vault.check', 'any', {}, 'ffffff'],
    ['ledger.read', 'any', {}, 'yyyyyf'],
    ['usage.list', 'any', {}, 'yyyyyf'],
    ['usage.total', 'any', {}, 'ffffff'],
  ];

  it('every action of owners and holders has cells', () => {
    const named = new Set(cells.map(([action]) => action));
    const missing = actions.filter(
      (action) => /^(design|licence|print|object|alarm)\./.test(action) && !named.has(action),
    );
    // Lists show what may be read; only a machine runs a print.
    expect(missing).toEqual(['design.list', 'licence.list', 'print.list', 'print.run']);
  });

  it.each(cells)('%s of %s', (action, _what, resource, letters) => {
    const person = { role: 'user', name: me, admin: false } as const;
    const members = roles.map((role): Actor => ({ ...person, member: { organisation: brand, roles: [role] } }));
    const all: Actor[] = [...members, person, guest];
    expect(all.map((actor) => (permits(actor, action, resource) ? 'y' : 'f')).join('')).toBe(letters);
  });

  it('a certifier may certify for its own organisation, and else what an auditor may', () => {
    const [certifier, auditor] = (['certifier', 'auditor'] as const).map(
      (role): Actor => ({ role: 'user', name: me, admin: false, member: { organisation: brand, roles: [role] } }),
    ) as [Actor, Actor];
    for (const organisation of [brand, bureau]) {
      const differs = actions.filter(
        (action) => permits(certifier, action, { organisation }) !== permits(auditor, action, { organisation }),
      );
      expect(differs).toEqual(organisation === brand ? ['material.certify'] : []);
    }
  });

  it('a certifier inspects parts for organisations that their owners have named', () => {
    const certifier: Actor = {
      ...{ role: 'user', name: me, admin: false },
      member: { organisation: brand, roles: ['certifier'] },
    };
    const allowed = (inspectors: readonly string[]) =>
      actions.filter((action) => permits(certifier, action, { inspectors }) && !permits(certifier, action));
    expect(allowed([bureau, brand])).toEqual(['object.read', 'object.inspect']);
    expect(allowed([bureau])).toEqual([]);
  });

  it('a guest may only enrol, read what is public, and offer the keys of an agent', () => {
    const allowed = actions.filter((action) => permits(guest, action, { organisation: brand, owner: me, holder: me }));
    expect(allowed).toEqual([
      ...['api.read', 'directory.read', 'pairing.offer', 'signIn.read', 'key.enrol', 'invitation.read'],
      ...['certificate.issue', 'session.open', 'session.read', 'upload.open'],
    ]);
  });
});
