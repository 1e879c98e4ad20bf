import { fromBase64, systemClock } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { documentName } from '@millrace/protocol';
import { samplePla } from '@millrace/testkit/protocol/material';
import { codeOf } from '@millrace/testkit/protocol/support';
import { expect, it } from 'vitest';
import { materialsPage } from '../src/control/materials.ts';
import { signingActor } from '../src/control/people.ts';
import { signedDocuments } from '../src/control/people-views.ts';
import { controlFixture } from './control-fixture.ts';
import { peopleFixture } from './people-fixture.ts';

it('control keeps certificates of a supplier’s certifiers only, and lists them for the supplier', async () => {
  const system = await controlFixture();
  const { context, keys } = system;
  const { sign, take, organisation, enrol } = peopleFixture(system);
  const acme = await organisation('ACME', 'supplier');
  const carla = await enrol(acme, 'certifier');
  const otto = await enrol(acme, 'operator');
  const eve = await enrol(await organisation('Brand', 'brand'), 'certifier');
  const material = { type: 'material.certify', ...samplePla(systemClock.now()) } as const;

  const certificate = await sign(carla, material);
  const { spool = '' } = await take(certificate);
  expect(await codeOf(() => take(certificate))).toBe('E_REPLAY');
  for (const key of [otto, eve, keys.owner, keys.admin])
    expect(await codeOf(async () => take(await sign(key, material)))).toBe('E_FORBIDDEN');
  const ended = { ...material, until: material.made };
  expect(await codeOf(async () => take(await sign(carla, ended)))).toBe('E_INPUT');

  const listed = async (key: { publicKey: Uint8Array }) =>
    (await materialsPage(context, await signingActor(context, keyName(key.publicKey)), { limit: 10 })).items;
  expect(await listed(otto)).toEqual([expect.objectContaining({ spool })]);
  expect(fromBase64((await listed(carla))[0]?.certificate ?? '')).toEqual(certificate);
  for (const key of [eve, keys.owner, keys.admin]) expect(await listed(key)).toEqual([]);
  // Whoever revokes the key may keep the certificates that it has signed.
  const documents = await signedDocuments(context, keyName(carla.publicKey));
  expect(documents.map(({ type, about, hash }) => [type, about, fromBase64(hash)])).toEqual([
    ['material.certify', spool, documentName(certificate)],
  ]);
});
