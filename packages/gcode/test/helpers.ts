import { MillraceError, utf8 } from '@millrace/base';
import { desktopLimits, Execution, type MotionLimits } from '../src/index.ts';

export interface Piece {
  readonly x: number;
  readonly y: number;
  readonly z: number;
  readonly layer: number;
  readonly extruding: boolean;
  readonly seconds: number;
}

export interface Trace {
  readonly execution: Execution;
  readonly pieces: Piece[];
  /** The seconds of every step, in order, with the offset at which its line ends. */
  readonly spent: { lineEnd: number; seconds: number }[];
}

export function execute(
  content: string | Uint8Array,
  options: { cuts?: readonly number[]; limits?: MotionLimits } = {},
): Trace {
  const pieces: Piece[] = [];
  const spent: { lineEnd: number; seconds: number }[] = [];
  const execution = new Execution(
    {
      spent: (lineEnd, seconds) => spent.push({ lineEnd, seconds }),
      travelled: ({ x, y, z, layer, extruding }) =>
        pieces.push({ x, y, z, layer, extruding, seconds: spent.at(-1)?.seconds ?? Number.NaN }),
    },
    options.limits ?? desktopLimits,
  );
  const bytes = typeof content === 'string' ? utf8(content) : content;
  let from = 0;
  for (const cut of [...(options.cuts ?? []), bytes.length]) {
    const to = Math.min(Math.max(cut, from), bytes.length);
    execution.push(bytes.subarray(from, to));
    from = to;
  }
  execution.finish();
  return { execution, pieces, spent };
}

/** The code and message of the error that `run` throws. An error other than a MillraceError fails the test. */
export function codedError(run: () => unknown): { code: string; message: string; line: unknown } | undefined {
  try {
    run();
    return undefined;
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error;
    return { code: error.code, message: error.message, line: error.data.line };
  }
}
