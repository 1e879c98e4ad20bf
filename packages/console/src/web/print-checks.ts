import type { LicenceView, MachineView, OdometerView, PrintView, SpoolView } from '@millrace/api';
import { isActive, leftOf } from './reading-order.ts';

// What has to be right before an operator may order a print. Control and machine decide again; this says it beforehand.

export type CheckName = 'machine' | 'spool' | 'safety' | 'licence';

export interface Check {
  readonly name: CheckName;
  readonly ok: boolean;
  /** Key of the sentence that says what was found, or what to do. */
  readonly says:
    | 'machineReady'
    | 'machineBusy'
    | 'machineOffline'
    | 'machineMissing'
    | 'spoolRight'
    | 'spoolAny'
    | 'spoolOther'
    | 'spoolNone'
    | 'spoolUnknown'
    | 'safetyClear'
    | 'safetyAlarm'
    | 'licenceLeft'
    | 'licenceUsed'
    | 'licenceEarly'
    | 'licenceOver'
    | 'licenceNotActive';
}

export interface PrintCase {
  readonly licence: LicenceView;
  readonly machine: MachineView | undefined;
  readonly spools: readonly SpoolView[];
  readonly prints: readonly PrintView[];
  readonly odometer: OdometerView | undefined;
  readonly now: number;
}

export function checksFor(given: PrintCase): Check[] {
  return [checkMachine(given), checkSpool(given), checkSafety(given), checkLicence(given)];
}

function checkMachine({ machine, prints }: PrintCase): Check {
  const name = 'machine';
  if (machine === undefined) return { name, ok: false, says: 'machineMissing' };
  if (!machine.online) return { name, ok: false, says: 'machineOffline' };
  const busy = prints.some((print) => print.machine === machine.machine && isActive(print));
  return { name, ok: true, says: busy ? 'machineBusy' : 'machineReady' };
}

/**
 * A licence without materials allows every one. A machine without a recorded spool states its material itself, which is
 * enough unless the licence wants a supplier's certificate.
 */
function checkSpool({ licence, machine, spools }: PrintCase): Check {
  const name = 'spool';
  if (licence.materials.length === 0) return { name, ok: true, says: 'spoolAny' };
  const wanted = licence.materials.map((words) => words.split(' certified by '));
  const plain = wanted.some(([, suppliers]) => suppliers === undefined);
  const loaded = spools.filter((spool) => machine !== undefined && spool.machine === machine.machine);
  if (loaded.length === 0) return { name, ok: plain, says: plain ? 'spoolUnknown' : 'spoolNone' };
  const right = loaded.some((spool) =>
    wanted.some(([material, suppliers]) => material === spool.name && (suppliers === undefined || spool.supplier)),
  );
  return { name, ok: right, says: right ? 'spoolRight' : 'spoolOther' };
}

function checkSafety({ odometer }: PrintCase): Check {
  const alarm = odometer?.alarm !== undefined && odometer.cleared.length === 0;
  return { name: 'safety', ok: !alarm, says: alarm ? 'safetyAlarm' : 'safetyClear' };
}

function checkLicence({ licence, now }: PrintCase): Check {
  const name = 'licence';
  if (licence.status !== 'active') return { name, ok: false, says: 'licenceNotActive' };
  if (now < licence.notBefore) return { name, ok: false, says: 'licenceEarly' };
  if (now > licence.notAfter) return { name, ok: false, says: 'licenceOver' };
  const left = leftOf(licence) > 0;
  return { name, ok: left, says: left ? 'licenceLeft' : 'licenceUsed' };
}
