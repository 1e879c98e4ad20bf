import type { TableFiller } from '../table/builder.ts';
import { createGpuEngine, type GpuOptions } from './gpu-engine.ts';
import { gpuFiller } from './gpu-table.ts';

/** The graphics card for a receiver's tables, or undefined after passing the reason to `note`. */
export async function findFiller(
  options: GpuOptions | undefined,
  instead: string,
  note: (line: string) => void,
): Promise<TableFiller | undefined> {
  const engine = await createGpuEngine({
    ...options,
    note: (reason) => {
      options?.note?.(reason);
      note(`no tables on a graphics card: ${reason}; engine ${instead} computes them`);
    },
  });
  return engine === undefined ? undefined : gpuFiller(engine);
}
