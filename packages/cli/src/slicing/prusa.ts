import { MillraceError } from '@millrace/base';
import { lastWords, runProgram } from './run.ts';
import type { Slicer, SlicerKind } from './slicer.ts';

/** PrusaSlicer, and the other fork of Slic3r with the same command line. Profiles: exported configurations, .ini. */
export const prusaSlicer: SlicerKind = {
  programs: ['prusa-slicer', 'PrusaSlicer', 'prusa-slicer-console', 'superslicer'],
  profiles: ['.ini'],
  open: async (program, signal): Promise<Slicer> => {
    let name: string | undefined;
    await runProgram(program, ['--help'], {
      signal,
      onLine: (line) => {
        const version = /\b((?:Prusa|Super)Slicer)-([0-9][\w.]*)/.exec(line);
        if (version !== null) name ??= `${version[1]} ${version[2]}`;
      },
    });
    return {
      name: name ?? 'PrusaSlicer',
      program,
      slice: async ({ model, profile, output, signal: stop, progress }) => {
        const args = ['--load', profile, '--export-gcode', '--output', output, model];
        const ended = await runProgram(program, args, {
          signal: stop,
          onLine: (line) => {
            const percent = /^\s*(\d{1,3}) => /.exec(line)?.[1];
            if (percent !== undefined) progress(Number(percent));
          },
        });
        // PrusaSlicer exits with 0 after some errors, so callers check for the G-code.
        if (ended.code !== 0) {
          throw new MillraceError('E_SLICER', `PrusaSlicer could not slice ${model}: ${lastWords(ended)}`);
        }
        if (!/Slicing result exported/.test(ended.said)) {
          throw new MillraceError('E_SLICER', `PrusaSlicer wrote no G-code for ${model}: ${lastWords(ended)}`);
        }
      },
    };
  },
};
