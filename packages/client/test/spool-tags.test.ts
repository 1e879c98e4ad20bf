import { encodeCbor, fromHex, utf8 } from '@millrace/base';
import { expect, it } from 'vitest';
import { readSpoolTag } from '../src/index.ts';

const refused = (content: Uint8Array) =>
  expect(() => readSpoolTag(content)).toThrow(expect.objectContaining({ code: 'E_INPUT' }));

it('reads OpenSpool', () => {
  const tag = { protocol: 'openspool', version: '1.0', type: 'PETG', color_hex: 'FFAABB', brand: 'Generic' };
  const read = (content: object) => readSpoolTag(utf8(JSON.stringify(content)));
  expect(read({ ...tag, min_temp: '220', max_temp: '240' })).toEqual({ name: 'PETG', brand: 'Generic' });
  refused(utf8(JSON.stringify({ ...tag, protocol: 'other' })));
  refused(utf8(JSON.stringify({ ...tag, type: 'x'.repeat(33) })));
  refused(utf8(JSON.stringify({ ...tag, type: '\u001b[2J' })));
  refused(utf8('{'));
});

/** The sample tag of the specification (docs_src/sample_data/sample_tag.bin, MIT), without its unused end. */
const sample = fromHex(
  'e140260103ff0127c21c000001056170706c69636174696f6e2f766e642e6f70656e7072696e74746167a10218e2bf005047' +
    '3bb8cde12945b89fcfda1c3add9c47076131080009000a70504c412047616c61787920426c61636b0b6950727573616d656e' +
    '740e1a67acb31a101903e8111903f412186413433d3e3d181bf93266181c9f17ff182218cd182318dc182418aa1825182818' +
    '26183c18281828182914182a184bff00',
);

it('reads OpenPrintTag: the whole tag, and the payload alone', () => {
  const expected = { name: 'PLA', product: 'PLA Galaxy Black', grams: 1_012, diameter: 1_750 };
  expect(readSpoolTag(sample)).toMatchObject(expected);
  expect(readSpoolTag(sample.slice(0x2a))).toMatchObject(expected);
  // A map with a density, and the main section at an offset.
  const meta = encodeCbor(new Map([[0, 8]]));
  const main = fromHex('a40800090110190320181df93cf6');
  const padded = new Uint8Array(8 + main.length);
  padded.set(meta);
  padded.set(main, 8);
  expect(readSpoolTag(padded)).toEqual({ name: 'PETG', grams: 800, density: 1_240, diameter: 1_750 });
});

it('refuses what is no tag', () => {
  refused(new Uint8Array());
  refused(sample.slice(0, 0x40));
  refused(utf8('MILLRACE-MATERIAL:1:'));
  refused(fromHex('a0a0'));
  refused(fromHex('a0a1091863')); // material type 99
});
