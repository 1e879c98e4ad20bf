import { MillraceError } from '@millrace/base';
import { type Driver, type DriverModules, driverKinds } from './contract.ts';

/**
 * Loads and makes the driver of a kind of machine; `options` are checked by the driver.
 * @throws {MillraceError} E_NOT_FOUND for a kind that has no driver, E_INPUT naming the wrong option.
 */
export async function createDriver(kind: string, options: unknown, modules: DriverModules = {}): Promise<Driver> {
  switch (kind) {
    case 'virtual':
      return (await import('./virtual.ts')).createVirtualMachine(options, modules);
    case 'sink':
      return (await import('./sink.ts')).createSink(options, modules);
    default:
      throw new MillraceError('E_NOT_FOUND', `no driver for machines of kind ${JSON.stringify(kind)}`, {
        data: { known: driverKinds },
      });
  }
}
