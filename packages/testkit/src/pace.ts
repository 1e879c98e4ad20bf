import { estimateDesign } from '@millrace/gcode';

/** Speed factor at which a virtual machine takes the given real seconds for a design. */
export async function factorFor(design: Uint8Array, seconds: number): Promise<number> {
  const { totalSeconds } = await estimateDesign([design]);
  return Math.max(1, Math.round(totalSeconds / seconds));
}
