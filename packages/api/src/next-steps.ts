import { type ErrorCode, errorCodes, isErrorCode } from '@millrace/base/core';

/** Who can act on a print that was refused or has failed. */
type Who = 'owner' | 'holder' | 'operator' | 'administrator';

const steps: Partial<Record<ErrorCode, readonly [who: Who, what: string]>> = {
  E_LICENCE_EXHAUSTED: ['owner', 'grants another licence: `millrace licence grant`'],
  E_LICENCE_QUOTA: ['holder', 'requests the print again in the next period of the subscription'],
  E_LICENCE_INVALID: ['owner', 'grants a licence for this machine and time: `millrace licence grant`'],
  E_LICENCE_PENDING: ['owner', 'asks an approver of the design to approve the licence: `millrace licence approve`'],
  E_LICENCE_SUSPENDED: [
    'owner',
    'reinstates the licence: `millrace licence reinstate`; after a restored backup `millrace licence resume`',
  ],
  E_LICENCE_REVOKED: ['owner', 'grants another licence, if the holder may go on: `millrace licence grant`'],
  E_CREDITED: ['holder', 'requests another print: it makes the object that is due instead'],
  E_REVOKED: ['owner', 'grants a licence to a key that counts: `millrace licence grant --holder`'],
  E_MATERIAL: [
    'operator',
    'loads a spool that the licence allows: `millrace spool load`; then the holder requests the print again',
  ],
  E_EXPIRED: ['holder', 'requests the print again: `millrace print`; `--start-within` gives it more time'],
  E_CANCELLED: ['holder', 'requests the print again, if it is wanted after all: `millrace print`'],
  E_DESIGN_DELETED: ['owner', 'adds the design again and grants a licence of it'],
  E_DESIGN_KIND: ['holder', 'requests the print on a machine that executes this kind of design'],
  E_CELL_MISSING: ['owner', 'repairs the design: `millrace design repair`; then the holder requests the print again'],
  E_CELL_DAMAGED: ['owner', 'repairs the design: `millrace design repair`; then the holder requests the print again'],
  E_ALARM: ['owner', 'looks into the alarm and clears it: `millrace alarm clear`; the object stays stopped'],
  E_MACHINE: ['operator', 'checks the machine and removes what lies on it; then the holder requests the print again'],
  E_MACHINE_UNKNOWN: ['administrator', 'registers the machine with the serial number and key that it has'],
  E_STARVED: ['operator', 'checks the machine’s network; then the holder requests the print again'],
  E_GCODE: ['owner', 'slices the model for this machine and adds the design again'],
  E_STOPPED: ['operator', 'removes the part and the cause; then the holder requests the print again'],
  E_SAFETY: ['owner', 'reads the reason, and slices the model within the limits of this machine'],
  E_SEGMENT: ['owner', 'adds the design again: what the machine executed is not what was signed'],
  E_SEAL: ['administrator', 'has the vault checked: `millrace vault check --deep`'],
  E_CLOUD_UNKNOWN: ['administrator', 'recognises the other cloud, if it still may: `millrace cloud recognise`'],
  E_VISA: ['holder', 'requests the print again at both clouds: `millrace print --at`'],
  E_PERMIT: ['administrator', 'checks the directories of the machine and the nodes'],
};

/** Codes with which a print is known to end. Each has a specific next step. */
export const endingCodes = Object.keys(steps) as readonly ErrorCode[];

/** Who must do what after a print has ended with `code`. For other codes the operator follows the code's remedy. */
export function nextStep(code: string): string {
  if (!isErrorCode(code)) return 'The operator reads the log of the machine’s agent.';
  const [who, what] = steps[code] ?? ['operator', `follows the remedy of ${code}: ${errorCodes[code].remedy}`];
  return `The ${who} ${what}${what.endsWith('.') ? '' : '.'}`;
}
