import { MillraceError, parse } from '@millrace/base';
import type { Dialect } from '@millrace/gcode';
import type { MachineProfile } from '@millrace/protocol';
import type { z } from 'zod';
import type { Capabilities, Driver, DriverModules } from './contract.ts';

/** A kind of machine: its capabilities, its settings, and how to load its driver. */
export interface DriverRegistration<Settings extends z.ZodType = z.ZodType> {
  /** Name of the kind, as used in registrations: a lower-case letter, then letters, digits and hyphens. */
  readonly kind: string;
  /** Maximum capabilities of a machine of this kind. */
  readonly capabilities: Capabilities;
  /** The driver's settings: the machine's `serial`, and the contents of `driver` in its folder's machine.json. */
  readonly settings: Settings;
  /**
   * Its driver checks every line against a safety policy before the machine executes it, as G-code of this dialect.
   */
  readonly appliesSafety?: Dialect | undefined;
  /** Settings derived from the registered profile. Those of machine.json override them. */
  settingsFor(profile: MachineProfile): Readonly<Record<string, unknown>>;
  /** Loads the driver's code. Called only when a machine of this kind is created. */
  load(): Promise<DriverCode<z.output<Settings>>>;
}

export interface DriverCode<Settings> {
  /** Creates a driver whose machine is not connected yet. */
  create(settings: Settings, modules: DriverModules): Driver | Promise<Driver>;
}

/** Drivers by kind of machine. */
export class DriverRegistry {
  readonly #registrations = new Map<string, DriverRegistration>();

  constructor(registrations: readonly DriverRegistration[] = []) {
    for (const registration of registrations) this.add(registration);
  }

  /** @throws {MillraceError} E_CONFIG if the kind already has a driver */
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

  /** @throws {MillraceError} E_NOT_FOUND for a kind without a driver */
  get(kind: string): DriverRegistration {
    const registration = this.#registrations.get(kind);
    if (registration !== undefined) return registration;
    throw new MillraceError('E_NOT_FOUND', `no driver for machines of kind ${JSON.stringify(kind)}`, {
      data: { known: this.kinds },
    });
  }

  /**
   * Checks the settings, loads the driver of a kind and creates an instance.
   * @throws {MillraceError} E_NOT_FOUND for a kind without a driver, E_INPUT with the wrong setting
   */
  async create(kind: string, settings: unknown, modules: DriverModules = {}): Promise<Driver> {
    const registration = this.get(kind);
    const checked = parse(registration.settings, settings, `settings of the ${kind} driver`);
    return (await registration.load()).create(checked, modules);
  }
}
