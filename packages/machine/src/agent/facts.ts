import { errorCodes, type MillraceError } from '@millrace/base';
import type { MachineReport, MachineState } from '@millrace/protocol';
import type { Driver } from '../drivers/contract.ts';

/** Where a machine is in its run: counts only, nothing of the design. */
export interface Position {
  readonly segments: number;
  readonly bytes: number;
  readonly line: number;
  readonly layer: number;
  readonly filament: number;
}

/** As the machine says. @param segments that it has taken */
export function positionOf(driver: Driver, segments: number, odometer: number): Position {
  const now = driver.telemetry();
  return {
    segments,
    bytes: now.executedBytes,
    line: now.line,
    layer: now.layer,
    filament: Math.max(0, now.odometer - odometer),
  };
}

export function stateOf(
  driver: Driver,
  counts: { state: MachineState['state']; bytes: number; wire: number; hints: number; odometer: number },
): MachineState {
  const { position, line, layer, temperatures, odometer } = driver.telemetry();
  const { state, bytes, wire, hints } = counts;
  const hundredths = (value: number) => Math.round(value * 100) / 100;
  return {
    state,
    line,
    layer,
    position: [hundredths(position.x), hundredths(position.y), hundredths(position.z)],
    hotend: Math.round(temperatures.hotend.now),
    bed: Math.round(temperatures.bed.now),
    filament: hundredths(Math.max(0, odometer - counts.odometer)),
    bytes,
    wire,
    hints,
  };
}

/**
 * What may be said of an error outside this machine. A line that cannot be executed is named by its number: its text,
 * which a message might quote, is the design's.
 */
export function evidence(error: MillraceError): Pick<MachineReport['facts'], 'code' | 'reason'> {
  const { line } = error.data;
  const where = typeof line === 'number' ? ` (line ${line})` : '';
  const what = error.code === 'E_GCODE' ? errorCodes.E_GCODE.meaning : error.message;
  return { code: error.code, reason: `${what}${error.code === 'E_GCODE' ? where : ''}`.slice(0, 500) };
}
