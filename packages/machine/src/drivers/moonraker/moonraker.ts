import { silentLogger } from '@millrace/base';
import type { Driver, DriverModules } from '../contract.ts';
import { createControllerDriver } from '../controller/controller-driver.ts';
import { MoonrakerController } from './moonraker-controller.ts';
import { refusedByKlipper } from './refused.ts';
import type { MoonrakerSettings } from './settings.ts';

export function createMoonraker(settings: MoonrakerSettings, modules: DriverModules): Driver {
  const controller = new MoonrakerController(settings, modules.logger ?? silentLogger);
  return createControllerDriver(
    { kind: 'moonraker', dialect: 'printer', refuse: refusedByKlipper, settings },
    controller,
    modules,
  );
}
