import { toHex } from '@millrace/base';
import { hasPoints } from '../holding-modes.ts';
import { type Manifest, readManifest } from '../manifest.ts';
import type { Holding } from '../records.ts';
import type { CheckProblem } from './report.ts';

const DECOYS = '';
const DECOYS_OF_POINTS = 'points';

/** Cells below this number must exist. */
export function mustHave({ stored, deleted, retire }: Holding): number {
  return deleted ? 0 : Math.min(stored, retire ?? stored);
}

/** Undefined if the manifest was altered. */
export function manifestOf(bytes: Uint8Array, design: string): Manifest | undefined {
  try {
    const manifest = readManifest(bytes);
    return manifest.designId === design ? manifest : undefined;
  } catch {
    return undefined;
  }
}

/** Cells that a pass found missing or damaged, by design. Decoys are grouped together. */
export class Findings {
  readonly #found = { missing: new Map<string, Set<number>>(), damaged: new Map<string, Set<number>>() };

  add(kind: 'missing' | 'damaged', owner: Holding, segment: number): void {
    const name = nameOf(owner);
    const segments = this.#found[kind].get(name) ?? new Set();
    segments.add(segment);
    this.#found[kind].set(name, segments);
  }

  /** Drops findings for cells that were stored again since. */
  mended(owner: Holding, from: number, count: number): void {
    for (const found of Object.values(this.#found))
      for (let segment = from; segment < from + count; segment++) found.get(nameOf(owner))?.delete(segment);
  }

  problems(): CheckProblem[] {
    const problems: CheckProblem[] = [];
    for (const kind of ['missing', 'damaged'] as const) {
      for (const [owner, found] of this.#found[kind]) {
        const segments = [...found].sort((a, b) => a - b);
        if (segments.length === 0) continue;
        if (owner === DECOYS_OF_POINTS) problems.push({ kind, design: undefined, points: true, segments });
        else problems.push({ kind, design: owner === DECOYS ? undefined : owner, segments });
      }
    }
    return problems;
  }
}

function nameOf(owner: Holding): string {
  if (!owner.decoys) return toHex(owner.id);
  return hasPoints(owner) ? DECOYS_OF_POINTS : DECOYS;
}
