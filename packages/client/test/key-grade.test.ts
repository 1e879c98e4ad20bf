import type { Machine } from '@millrace/protocol';
import { certify, logKeyOf, makeKeys, makeStory } from '@millrace/testkit/client/certified';
import { codeOf } from '@millrace/testkit/client/helpers';
import { describe, expect, it } from 'vitest';
import { checkCertificate } from '../src/certificates.ts';

const keys = makeKeys();
const trust = { logKey: logKeyOf(keys), owner: keys.owner.publicKey, authority: keys.admin.publicKey };
const token = { manufacturer: 'Maker', model: 'HSM 2', serial: '17', hardware: true };

describe('the certificate of an object', () => {
  it('states where the machine’s key is, and what that does not prove', async () => {
    const words = async (of: Machine['token']) => {
      const { events, object } = await makeStory(keys, of === undefined ? {} : { machine: { token: of } });
      const { checked, unchecked } = await checkCertificate(await certify(keys, events, object), trust);
      return { checked: checked.join('\n'), unchecked: unchecked.join('\n') };
    };
    const hardware = await words(token);
    expect(hardware.checked).toContain('in a hardware token (Maker HSM 2, 17), as it is registered');
    expect(hardware.unchecked).toContain('no manufacturer attests it');
    const software = await words({ ...token, hardware: false });
    expect(software.checked).toContain('in a software token');
    expect(software.unchecked).toContain('whoever has the files and the PIN');
    const file = await words(undefined);
    expect(file.checked).toContain('machine’s key: in a file');
    expect(file.unchecked).toContain('whoever read the file can sign as the machine');
  });

  it('is refused if the machine was registered with another grade than its licence names', async () => {
    const { object, events } = await makeStory(keys, { machine: { token } });
    const { events: others } = await makeStory(keys);
    const other = others.find(({ type }) => type === 'machine');
    if (other === undefined) throw new Error('no registration');
    const forged = events.map((event) => (event.type === 'machine' ? other : event));
    expect(await codeOf(checkCertificate(await certify(keys, forged, object), trust))).toBe('E_EVIDENCE');
  });
});
