import { concatBytes, encodeCbor, utf8 } from '@millrace/base';
import { readSpoolTag } from '@millrace/client';
import { materialText, parseMaterialText, verifyMaterial } from '@millrace/protocol';
import type { Target } from '@millrace/testkit/fuzz/target';
import { samplePla } from '@millrace/testkit/protocol/material';
import { createPeople } from '@millrace/testkit/protocol/people';
import { createProtocolFixture, NOW } from '@millrace/testkit/protocol/support';

/** Material certificates, the codes on spools, and the tags of others. */
export async function materialTargets(): Promise<Target[]> {
  const { keys, directory } = createProtocolFixture();
  const people = createPeople({ admin: keys.admin, installation: directory.installation, now: () => NOW });
  const carla = await people.person(await people.organisation('ACME', 'supplier'), 'Carla', ['certifier']);
  const certificate = await people.sign(carla.key, { type: 'material.certify', ...samplePla(NOW) });
  const openSpool = { protocol: 'openspool', version: '1.0', type: 'PLA', color_hex: 'FFAABB', brand: 'Generic' };
  const main = encodeCbor(
    new Map<number, number | string>([
      [8, 0],
      [9, 1],
      [11, 'Generic'],
      [16, 1_000],
    ]),
  );
  const tag = concatBytes(encodeCbor(new Map([[0, 8]])), new Uint8Array(5), main);
  return [
    {
      name: 'material certificate',
      samples: [certificate],
      cost: 'dear',
      codes: ['E_SIGNATURE', 'E_AUTH', 'E_INPUT', 'E_FORBIDDEN'],
      decode: (input) => verifyMaterial(input, carla.credential, directory),
      accepts: 'samples',
    },
    {
      name: 'code of a spool',
      samples: [utf8(materialText(certificate))],
      cost: 'cheap',
      codes: ['E_INPUT'],
      decode: (input) => parseMaterialText(new TextDecoder('latin1').decode(input)),
      accepts: 'any',
    },
    {
      name: 'tag of a spool',
      samples: [utf8(JSON.stringify(openSpool)), concatBytes(encodeCbor({}), main), tag],
      cost: 'cheap',
      codes: ['E_INPUT'],
      decode: readSpoolTag,
      accepts: 'any',
    },
  ];
}
