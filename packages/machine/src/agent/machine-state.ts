import { heaters, type MachineState, type OwnerState } from '@millrace/protocol';
import type { Driver } from '../drivers/contract.ts';

const hundredths = (value: number) => Math.round(value * 100) / 100;

/** The part of the machine's state that the cloud may see; it contains no position. */
export function stateOf(
  driver: Pick<Driver, 'telemetry' | 'capabilities'>,
  counts: { state: MachineState['state']; bufferMs: number | undefined; wire: number; hints: number },
): MachineState {
  const { temperatures } = driver.telemetry();
  const { state, bufferMs, wire, hints } = counts;
  const degrees = heaters
    .filter((heater) => driver.capabilities.heaters.includes(heater))
    .map((heater) => [heater, Math.round(temperatures[heater]?.now ?? 0)] as const);
  return {
    state,
    temperatures: Object.fromEntries(degrees),
    ...(bufferMs === undefined ? {} : { buffer: Math.round(bufferMs / 100) / 10 }),
    wire,
    hints,
  };
}

/** The machine's full state, for the owner only. @param odometer of the machine when the run began */
export function ownerStateOf(
  driver: Pick<Driver, 'telemetry' | 'capabilities'>,
  { time, odometer }: { time: number; odometer: number },
): OwnerState {
  const { capabilities } = driver;
  const now = driver.telemetry();
  const { position } = now;
  return {
    time,
    bytes: now.executedBytes,
    ...(capabilities.lines ? { line: now.line } : {}),
    ...(capabilities.layers ? { layer: now.layer } : {}),
    ...(capabilities.position
      ? { position: [hundredths(position.x), hundredths(position.y), hundredths(position.z)] }
      : {}),
    ...(capabilities.filament ? { filament: hundredths(Math.max(0, now.odometer - odometer)) } : {}),
  };
}
