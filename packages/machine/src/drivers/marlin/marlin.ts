import type { Driver, DriverModules } from '../contract.ts';
import { createControllerDriver } from '../controller/controller-driver.ts';
import { serialModules } from '../controller/serial-modules.ts';
import { MarlinController } from './marlin-controller.ts';
import { refusedByMarlin } from './refused.ts';
import type { MarlinSettings } from './settings.ts';

export function createMarlin(settings: MarlinSettings, modules: DriverModules): Driver {
  const controller = new MarlinController(settings, serialModules(modules));
  return createControllerDriver(
    { kind: 'marlin', dialect: 'printer', refuse: refusedByMarlin, settings },
    controller,
    modules,
  );
}
