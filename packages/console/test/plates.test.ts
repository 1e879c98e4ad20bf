import { zipOf } from '@millrace/testkit/console/sliced-project';
import { describe, expect, it } from 'vitest';
import { platesIn, unpackPlate } from '../src/web/plates/plate-files.ts';

const gcode = (lines: number, mark: string) =>
  Array.from({ length: lines }, (_, n) => `G1 X${(n * 7) % 200} Y${(n * 13) % 180} E${n / 50} ; ${mark}\n`).join('');
const silent = () => undefined;

/** A file with every place of these bytes replaced by others of the same length. */
function replaced(bytes: Uint8Array<ArrayBuffer>, from: string, to: string): Blob {
  const text = Buffer.from(bytes).toString('latin1');
  expect(text).toContain(from);
  return new Blob([Buffer.from(text.replaceAll(from, to), 'latin1')]);
}
/** A zip file of empty parts, which the library would take half a minute to write. */
function emptyParts(count: number): Uint8Array<ArrayBuffer> {
  const local: Buffer[] = [];
  const central: Buffer[] = [];
  for (let n = 0; n < count; n++) {
    const name = Buffer.from(`a/${String(n).padStart(6, '0')}`);
    const head = Buffer.alloc(30);
    head.writeUInt32LE(0x04034b50);
    head.writeUInt16LE(name.length, 26);
    const record = Buffer.alloc(46);
    record.writeUInt32LE(0x02014b50);
    record.writeUInt16LE(name.length, 28);
    record.writeUInt32LE(n * (head.length + name.length), 42);
    local.push(head, name);
    central.push(record, name);
  }
  const [parts, directory] = [Buffer.concat(local), Buffer.concat(central)];
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50);
  end.writeUInt16LE(count, 8);
  end.writeUInt16LE(count, 10);
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(parts.length, 16);
  return new Uint8Array(Buffer.concat([parts, directory, end]));
}
const sliced = {
  '3D/3dmodel.model': '<model/>',
  'Metadata/plate_2.gcode': gcode(3_000, 'second'),
  'Metadata/plate_10.gcode': gcode(10, 'tenth'),
  'Metadata/plate_1.gcode': gcode(20, 'first'),
  'Metadata/plate_1.gcode.md5': 'd41d8cd98f00b204e9800998ecf8427e',
};

describe('a sliced project', () => {
  it('has plates in their order, whose G-code is unpacked as it is', async () => {
    for (const options of [{}, { level: 0 }, { zip64: true }, { dataDescriptor: true }]) {
      const file = new Blob([await zipOf(sliced, options)]);
      const plates = await platesIn(file);
      expect(plates.map(({ plate }) => plate)).toEqual([1, 2, 10]);
      for (const { part, size } of plates) {
        const reports: number[] = [];
        const unpacked = await unpackPlate(file, part, (done, total) => reports.push(done / total));
        expect(await unpacked.text()).toBe(sliced[part as keyof typeof sliced]);
        expect([unpacked.size, reports.at(-1)]).toEqual([size, 1]);
      }
    }
    await expect(unpackPlate(new Blob([await zipOf(sliced)]), 'Metadata/plate_3.gcode', silent)).rejects.toThrow(
      expect.objectContaining({ code: 'E_NOT_FOUND' }),
    );
  });

  it('has no plates if nobody has sliced it, whatever its parts are called', async () => {
    const others = [
      'Metadata/plate_0.gcode',
      'plate_1.gcode',
      'Metadata/plate_1.gcode.md5',
      'x/Metadata/plate_1.gcode',
    ];
    const file = new Blob([await zipOf(Object.fromEntries(others.map((name) => [name, 'G28\n'])))]);
    expect(await platesIn(file)).toEqual([]);
  });

  it('is refused if it is no zip file, is cut, or encrypted', async () => {
    const whole = await zipOf(sliced);
    const secret = new Blob([await zipOf(sliced, { password: 'secret' })]);
    for (const file of [new Blob([]), new Blob(['G28\n']), new Blob([whole.subarray(0, -30)])])
      await expect(platesIn(file)).rejects.toThrow(expect.objectContaining({ code: 'E_INPUT' }));
    await expect(unpackPlate(secret, 'Metadata/plate_1.gcode', silent)).rejects.toThrow(
      expect.objectContaining({ code: 'E_INPUT' }),
    );
  });

  it('is refused with names that lead out of a folder, or that occur twice', async () => {
    const bytes = await zipOf({ ...sliced, 'Metadata/plate_3.gcode': 'G28\n', 'AA/BB/CC': 'x' });
    for (const [from, to] of [
      ['AA/BB/CC', '../../CC'],
      ['AA/BB/CC', '/AA/BBCC'],
      ['AA/BB/CC', 'C:\\BB\\CC'],
      ['AA/BB/CC', '..\\BB\\CC'],
      ['Metadata/plate_3.gcode', 'Metadata/plate_2.gcode'],
      ['Metadata/plate_3.gcode', 'metadata/PLATE_2.gcode'],
    ] as const)
      await expect([from, to, await platesIn(replaced(bytes, from, to)).catch(({ code }) => code)]).toEqual([
        ...[from, to, 'E_INPUT'],
      ]);
  });

  it('is refused if a plate is altered: its bytes, its checksum, or its length', async () => {
    const [name, text] = ['Metadata/plate_1.gcode', gcode(20, 'first')];
    const stored = await zipOf({ [name]: text }, { level: 0 });
    const altered = replaced(stored, 'first', 'worst');
    await expect(unpackPlate(altered, name, silent)).rejects.toThrow(/CRC|checksum/i);
    const packed = await zipOf({ [name]: gcode(3_000, 'x') });
    const view = new DataView(packed.buffer);
    const at = Buffer.from(packed).lastIndexOf(Buffer.from('PK\u0001\u0002', 'latin1'));
    for (const [offset, by] of [
      [16, 1],
      [24, 1],
      [24, -1],
      [20, -10],
    ] as const) {
      const copy = new DataView(packed.slice().buffer);
      copy.setUint32(at + offset, view.getUint32(at + offset, true) + by, true);
      await expect(unpackPlate(new Blob([copy.buffer]), name, silent)).rejects.toThrow(
        expect.objectContaining({ code: 'E_INPUT' }),
      );
    }
  });

  it('is refused if it unpacks to far more than it has, or has too many parts', async () => {
    const bomb = new Blob([await zipOf({ 'Metadata/plate_1.gcode': '\n'.repeat(8 * 2 ** 20) })]);
    await expect(platesIn(bomb)).rejects.toThrow(expect.objectContaining({ code: 'E_TOO_LARGE' }));
    const many = new Blob([emptyParts(4_097)]);
    expect(await platesIn(new Blob([emptyParts(100)]))).toEqual([]);
    await expect(platesIn(many)).rejects.toThrow(expect.objectContaining({ code: 'E_TOO_LARGE' }));
  });
});
