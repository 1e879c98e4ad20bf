import { utf8 } from '@millrace/base';
import { keyStoreXml, parseXml, resourceIn, wrappedKey } from '@millrace/cli/parts';
import type { Target } from '@millrace/testkit/fuzz/target';

/** The key store of 3MF files, which anybody may have written. */
export function threeMfTargets(): Target[] {
  const path = '/Millrace/package.mrjob';
  const sample = keyStoreXml({
    uuid: '6ba7b810-9dad-41d1-80b4-00c04fd430c8',
    consumer: { id: '0'.repeat(32), keyId: '1'.repeat(32), publicKey: 'PEM' },
    keyUuid: '6ba7b811-9dad-41d1-80b4-00c04fd430c8',
    wrapped: new Uint8Array(256),
    path,
    iv: new Uint8Array(12),
    tag: new Uint8Array(16),
    aad: utf8('aad'),
  });
  return [
    {
      name: 'key store of a 3MF file',
      samples: [utf8(sample)],
      cost: 'middling',
      codes: ['E_PACKAGE'],
      decode: (input) =>
        resourceIn(parseXml(input, 'the key store'), path).rights.map(({ right }) => wrappedKey(right)),
      accepts: 'any',
    },
  ];
}
