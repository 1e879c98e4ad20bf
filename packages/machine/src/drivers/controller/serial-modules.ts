import { type Clock, type Logger, silentLogger, systemClock } from '@millrace/base';
import type { DriverModules } from '../contract.ts';
import type { OpenLink } from './link/link.ts';
import { openLink } from './link/open-link.ts';
import { portOfSerial, usbSerialOf } from './link/usb-ports.ts';

/** What the controllers at a serial port use of this computer. */
export interface SerialModules {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly openLink: OpenLink;
  readonly portOfSerial: (serial: string) => Promise<string>;
  readonly usbSerialOf: (port: string) => Promise<string | undefined>;
}

export function serialModules({ clock = systemClock, logger = silentLogger }: DriverModules): SerialModules {
  return { clock, logger, openLink, portOfSerial, usbSerialOf };
}
