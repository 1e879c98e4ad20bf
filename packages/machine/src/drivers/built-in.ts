import { grblDriver } from './grbl/registration.ts';
import { marlinDriver } from './marlin/registration.ts';
import { moonrakerDriver } from './moonraker/registration.ts';
import { octoprintDriver } from './octoprint/registration.ts';
import { DriverRegistry } from './registry.ts';
import { sinkDriver } from './sink/registration.ts';
import { virtualDriver } from './virtual/registration.ts';

/** A new registry with the drivers of this package. */
export function builtInDrivers(): DriverRegistry {
  return new DriverRegistry([virtualDriver, sinkDriver, marlinDriver, grblDriver, moonrakerDriver, octoprintDriver]);
}
