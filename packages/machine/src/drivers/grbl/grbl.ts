import type { Driver, DriverModules } from '../contract.ts';
import { createControllerDriver } from '../controller/controller-driver.ts';
import { serialModules } from '../controller/serial-modules.ts';
import { GrblController } from './grbl-controller.ts';
import type { GrblSettings } from './settings.ts';
import { refusedByGrbl } from './writer.ts';

export function createGrbl(settings: GrblSettings, modules: DriverModules): Driver {
  const controller = new GrblController(settings, serialModules(modules));
  return createControllerDriver(
    { kind: 'grbl', dialect: 'mill', refuse: refusedByGrbl, settings },
    controller,
    modules,
  );
}
