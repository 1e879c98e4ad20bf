import { MillraceError } from '@millrace/base';
import type { MachineIdentity } from '../contract.ts';

/**
 * Compares the serial numbers that a machine reports, of its board and of its USB device, with the registered one.
 * @throws {MillraceError} E_MACHINE_UNKNOWN
 */
export function identityOf(
  machine: { readonly kind: string; readonly firmware: string; readonly serials: readonly (string | undefined)[] },
  expected: { readonly serial: string },
  trusted: boolean,
): MachineIdentity {
  const { kind, firmware } = machine;
  const serials = machine.serials.filter((serial) => serial !== undefined && serial !== '');
  const { serial } = expected;
  if (serials.includes(serial)) return { kind, firmware, serial };
  if (serials.length === 0) {
    if (trusted) return { kind, firmware, serial };
    throw new MillraceError(
      'E_MACHINE_UNKNOWN',
      'the machine reports no serial number: with "trustSerial": true in its settings, it is not checked',
      { data: { expected: serial } },
    );
  }
  throw new MillraceError('E_MACHINE_UNKNOWN', 'the machine has another serial number than the registered one', {
    data: { expected: serial, found: serials[0]?.slice(0, 64) },
  });
}
