import { z } from 'zod';
import { controllerSettings, milliseconds } from './controller-settings.ts';

/** Settings of controllers at a serial port. */
export const serialSettings = controllerSettings.extend({
  /**
   * Path of the device, or tcp://HOST:PORT. Default: the port of the USB device with the registered serial number,
   * wherever it is plugged in.
   */
  port: z.string().min(1).max(4_096).optional(),
  baud: z.union([z.literal('auto'), z.number().int().min(1_200).max(4_000_000)]).default('auto'),
  /** Time to answer after the port was opened, at each speed: a board that is reset by it starts first. */
  connectMs: milliseconds.default(10_000),
});
export type SerialSettings = z.output<typeof serialSettings>;
