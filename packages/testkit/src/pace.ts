import { estimateDesign } from '@millrace/gcode';

/** Speed factor at which a virtual machine executes a design in the given real seconds. */
export async function factorFor(design: Uint8Array, seconds: number): Promise<number> {
  const { totalSeconds } = await estimateDesign([design]);
  return Math.max(1, Math.round(totalSeconds / seconds));
}
