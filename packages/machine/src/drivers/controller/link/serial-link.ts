import { MillraceError, sleep } from '@millrace/base';
import type { Link, LinkEvents, LinkOptions } from './link.ts';

const RESET_MS = 100;

type SerialPort = typeof import('serialport').SerialPort;

/** `serialport` is optional: its binary does not load on every platform. */
async function loadSerialPort(): Promise<SerialPort> {
  try {
    return (await import('serialport')).SerialPort;
  } catch (cause) {
    throw new MillraceError(
      'E_MACHINE',
      'serial ports cannot be used on this computer: install the package `serialport` beside @millrace/machine',
      { cause },
    );
  }
}

export async function openSerialLink({ port: path, baud }: LinkOptions, { bytes, lost }: LinkEvents): Promise<Link> {
  const SerialPort = await loadSerialPort();
  let state: 'open' | 'closed' = 'open';
  const port = await new Promise<InstanceType<SerialPort>>((resolve, reject) => {
    const opened = new SerialPort({ path, baudRate: baud, autoOpen: false });
    opened.open((cause) => {
      if (cause) reject(new MillraceError('E_MACHINE', `cannot open the serial port ${path}`, { cause }));
      else resolve(opened);
    });
  });
  const gone = () => {
    if (state === 'closed') return;
    state = 'closed';
    lost();
  };
  port.on('data', (data: Uint8Array) => {
    if (state === 'open') bytes(data);
  });
  port.on('close', gone);
  port.on('error', gone);
  /** A pseudo-terminal has no control lines: the error is of no interest. */
  const setDtr = (dtr: boolean) => new Promise<void>((resolve) => port.set({ dtr, rts: dtr }, () => resolve()));
  return {
    write: (content) => {
      const copy = Buffer.from(content);
      port.write(copy, undefined, () => copy.fill(0));
    },
    reset: async () => {
      await setDtr(false);
      await sleep(RESET_MS);
      if (port.isOpen) await setDtr(true);
    },
    close: async () => {
      state = 'closed';
      if (port.isOpen) await new Promise<void>((resolve) => port.close(() => resolve()));
    },
  };
}
