import { estimateDesign } from '@millrace/gcode';

/** Factor at which a virtual machine takes so many real seconds for a design. */
export async function factorFor(design: Uint8Array, seconds: number): Promise<number> {
  const { totalSeconds } = await estimateDesign([design]);
  return Math.max(1, Math.round(totalSeconds / seconds));
}
