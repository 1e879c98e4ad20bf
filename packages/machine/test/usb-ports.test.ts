import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { portOfSerial, type SystemPaths, usbSerialOf } from '../src/drivers/controller/link/usb-ports.ts';

describe('serial ports of USB devices', () => {
  let folder: string;
  let paths: SystemPaths;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'millrace-usb-'));
    paths = { sysTty: join(folder, 'class'), byId: join(folder, 'by-id'), dev: join(folder, 'dev') };
    for (const path of Object.values(paths)) await mkdir(path);
    // As in /sys: the tty belongs to an interface of the device that has the serial number.
    for (const [name, serial] of [
      ['ttyACM0', 'CZPX1720'],
      ['ttyUSB3', undefined],
    ] as const) {
      const device = join(folder, 'devices', name);
      await mkdir(join(device, '1-1:1.0', 'tty', name), { recursive: true });
      if (serial !== undefined) await writeFile(join(device, 'serial'), `${serial}\n`);
      await mkdir(join(paths.sysTty, name));
      await symlink(join(device, '1-1:1.0'), join(paths.sysTty, name, 'device'));
      await writeFile(join(paths.dev, name), '');
    }
    await symlink('../dev/ttyUSB3', join(paths.byId, 'usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0'));
    await symlink('../dev/ttyACM0', join(paths.byId, 'usb-Prusa_MK3_CZPX1720-if00'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('are found by the serial number, wherever the device is plugged in', async () => {
    expect(await portOfSerial('CZPX1720', paths)).toBe(join(paths.dev, 'ttyACM0'));
    expect(await portOfSerial('A50285BI', paths)).toBe(join(paths.dev, 'ttyUSB3'));
    for (const other of ['CZPX172', '.*', 'BI'])
      await expect(portOfSerial(other, paths)).rejects.toMatchObject({ code: 'E_MACHINE' });
  });

  it('report the serial number, also through a link', async () => {
    expect(await usbSerialOf(join(paths.dev, 'ttyACM0'), paths)).toBe('CZPX1720');
    expect(await usbSerialOf(join(paths.byId, 'usb-Prusa_MK3_CZPX1720-if00'), paths)).toBe('CZPX1720');
    expect(await usbSerialOf(join(paths.dev, 'ttyUSB3'), paths)).toBeUndefined();
    expect(await usbSerialOf('tcp://127.0.0.1:1', paths)).toBeUndefined();
  });
});
