import { isAbsolute, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { MillraceError, parse } from '@millrace/base';
import { heaters, machineKind } from '@millrace/protocol';
import { z } from 'zod';
import type { DriverRegistration } from './registry.ts';

const isFunction = (value: unknown): boolean => typeof value === 'function';

/** The `driver` export of a driver module. Its code is trusted like the agent's; only its form is checked. */
const moduleSchema = z.object({
  driver: z.object({
    kind: machineKind,
    capabilities: z.strictObject({
      formats: z.array(z.string().min(1)).min(1),
      heaters: z.array(z.enum(heaters)),
      position: z.boolean(),
      lines: z.boolean(),
      layers: z.boolean(),
      filament: z.boolean(),
    }),
    appliesSafety: z.enum(['printer', 'mill']).optional(),
    settings: z.custom<z.ZodType>(
      (value) => isFunction((value as { safeParse?: unknown } | null | undefined)?.safeParse),
      { error: 'expected a zod schema' },
    ),
    settingsFor: z.custom<DriverRegistration['settingsFor']>(isFunction, { error: 'expected a function' }),
    load: z.custom<DriverRegistration['load']>(isFunction, { error: 'expected a function' }),
  }),
});

/**
 * Loads a driver that is not part of this package.
 * @param specifier name of an installed package, or a path, which may be relative to `folder`
 * @throws {MillraceError} E_CONFIG if the module does not exist or exports no valid `driver`
 */
export async function loadDriverModule(specifier: string, folder: string): Promise<DriverRegistration> {
  const isPath = specifier.startsWith('.') || isAbsolute(specifier);
  let loaded: unknown;
  try {
    loaded = await import(isPath ? pathToFileURL(resolve(folder, specifier)).href : specifier);
  } catch (cause) {
    throw new MillraceError('E_CONFIG', `cannot load the driver module ${specifier}`, { cause });
  }
  return parse(moduleSchema, { ...(loaded as object) }, `driver module ${specifier}`, 'E_CONFIG').driver;
}
