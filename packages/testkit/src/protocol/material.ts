import type { NewMaterial } from '@millrace/client';

const DAY_MS = 86_400_000;

/** A usual spool: one kilogram of PLA, 1.75 mm. */
export function samplePla(now: number, changes: Partial<NewMaterial> = {}): NewMaterial {
  return {
    name: 'PLA',
    batch: '2026-31-A',
    spool: 'AC-000017',
    grams: 1_000,
    form: 'filament',
    diameter: 1_750,
    density: 1_240,
    made: now - 10 * DAY_MS,
    until: now + 700 * DAY_MS,
    ...changes,
  };
}
