import { silentLogger, systemClock } from '@millrace/base';
import type { Driver, DriverModules } from '../contract.ts';
import { createControllerDriver } from '../controller/controller-driver.ts';
import { refusedByMarlin } from '../marlin/refused.ts';
import { OctoprintController } from './octoprint-controller.ts';
import type { OctoprintSettings } from './settings.ts';

export function createOctoprint(settings: OctoprintSettings, modules: DriverModules): Driver {
  const { clock = systemClock, logger = silentLogger } = modules;
  const controller = new OctoprintController(settings, { clock, logger });
  return createControllerDriver(
    { kind: 'octoprint', dialect: 'printer', refuse: refusedByOctoprint, settings },
    controller,
    modules,
  );
}

/** OctoPrint executes lines that begin with @ itself. */
function refusedByOctoprint(command: Uint8Array): string | undefined {
  return command[0] === 64 ? 'a command for OctoPrint itself' : refusedByMarlin(command);
}
