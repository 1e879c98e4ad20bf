import { readdir, readFile, readlink, realpath } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { MillraceError } from '@millrace/base';

/** Where Linux describes its serial ports. */
export interface SystemPaths {
  readonly sysTty: string;
  readonly byId: string;
  readonly dev: string;
}

export const linuxPaths: SystemPaths = { sysTty: '/sys/class/tty', byId: '/dev/serial/by-id', dev: '/dev' };

/** Levels between a tty and the USB device that has its serial number. */
const MAX_LEVELS = 6;

/** The serial number that the USB device of a port reports; undefined for other ports and other systems. */
export async function usbSerialOf(port: string, paths: SystemPaths = linuxPaths): Promise<string | undefined> {
  const device = await realpath(port).catch(() => port);
  let folder = await realpath(join(paths.sysTty, basename(device), 'device')).catch(() => undefined);
  for (let level = 0; folder !== undefined && level < MAX_LEVELS; level += 1) {
    const serial = await readFile(join(folder, 'serial'), 'utf8').catch(() => undefined);
    if (serial !== undefined) return serial.trim();
    folder = dirname(folder);
  }
  return undefined;
}

/**
 * The port of the USB device with this serial number. The name of a port changes when a device is plugged in again;
 * its serial number does not.
 * @throws {MillraceError} E_MACHINE if no such device is plugged in
 */
export async function portOfSerial(serial: string, paths: SystemPaths = linuxPaths): Promise<string> {
  for (const name of await readdir(paths.sysTty).catch(() => [])) {
    const port = join(paths.dev, name);
    if ((await usbSerialOf(port, paths)) === serial) return port;
  }
  // The links of udev carry the serial number in their names.
  const links = await readdir(paths.byId).catch(() => []);
  const link = links.find((name) => new RegExp(`_${escaped(serial)}(-if\\d+)?(-port\\d+)?$`).test(name));
  if (link !== undefined) {
    const target = await readlink(join(paths.byId, link)).catch(() => undefined);
    return target === undefined ? join(paths.byId, link) : join(paths.byId, target);
  }
  throw new MillraceError('E_MACHINE', 'no serial port has a USB device with the serial number of the machine', {
    data: { expected: serial },
  });
}

const escaped = (text: string): string => text.replace(/[^A-Za-z0-9]/g, '\\$&');
