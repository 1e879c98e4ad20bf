import { MillraceError, parse } from '@millrace/base';
import type { MachineProfile } from '@millrace/protocol';
import type { z } from 'zod';
import type { Capabilities, Driver, DriverModules } from './contract.ts';

/** A kind of machine: what it can do, how its driver is set up, and where the driver's code is. */
export interface DriverRegistration<Settings extends z.ZodType = z.ZodType> {
  /** Name of the kind, as machines are registered with it: a lower-case letter, then letters, digits and hyphens. */
  readonly kind: string;
  /** What a machine of this kind has at most. */
  readonly capabilities: Capabilities;
  /** The driver's settings: the machine's `serial`, and what its folder's machine.json holds under `driver`. */
  readonly settings: Settings;
  /** Settings that follow from the registered profile; those of machine.json come before them. */
  settingsFor(profile: MachineProfile): Readonly<Record<string, unknown>>;
  /** Loads the driver's code. It is called when a machine of this kind is made, not before. */
  load(): Promise<DriverCode<z.output<Settings>>>;
}

export interface DriverCode<Settings> {
  /** Makes a driver whose machine is not connected yet. */
  create(settings: Settings, modules: DriverModules): Driver | Promise<Driver>;
}

/** Drivers by the kind of machine. */
export class DriverRegistry {
  readonly #registrations = new Map<string, DriverRegistration>();

  constructor(registrations: readonly DriverRegistration[] = []) {
    for (const registration of registrations) this.add(registration);
  }

  /** @throws {MillraceError} E_CONFIG when the kind has a driver already */
  add(registration: DriverRegistration): void {
    const { kind } = registration;
    if (this.#registrations.has(kind)) throw new MillraceError('E_CONFIG', `machines of kind ${kind} have two drivers`);
    this.#registrations.set(kind, registration);
  }

  get kinds(): readonly string[] {
    return [...this.#registrations.keys()].sort();
  }

  has(kind: string): boolean {
    return this.#registrations.has(kind);
  }

  /** @throws {MillraceError} E_NOT_FOUND for a kind that has no driver */
  get(kind: string): DriverRegistration {
    const registration = this.#registrations.get(kind);
    if (registration !== undefined) return registration;
    throw new MillraceError('E_NOT_FOUND', `no driver for machines of kind ${JSON.stringify(kind)}`, {
      data: { known: this.kinds },
    });
  }

  /**
   * Checks the settings, loads the driver of a kind and makes one.
   * @throws {MillraceError} E_NOT_FOUND for a kind that has no driver, E_INPUT naming the wrong setting
   */
  async create(kind: string, settings: unknown, modules: DriverModules = {}): Promise<Driver> {
    const registration = this.get(kind);
    const checked = parse(registration.settings, settings, `settings of the ${kind} driver`);
    return (await registration.load()).create(checked, modules);
  }
}
