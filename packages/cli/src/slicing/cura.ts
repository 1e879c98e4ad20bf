import { MillraceError } from '@millrace/base';
import { lastWords, runProgram } from './run.ts';
import type { Slicer, SlicerKind } from './slicer.ts';

/** CuraEngine. Profiles: a machine definition with its settings, .def.json. It reads only STL. */
export const curaEngine: SlicerKind = {
  programs: ['CuraEngine', 'curaengine'],
  profiles: ['.def.json'],
  open: async (program, signal): Promise<Slicer> => {
    const asked = await runProgram(program, ['help'], { signal });
    const version = /Cura_SteamEngine version ([0-9][\w.-]*)/.exec(asked.said)?.[1];
    return {
      name: version === undefined ? 'CuraEngine' : `CuraEngine ${version}`,
      program,
      slice: async ({ model, profile, output, signal: stop, progress }) => {
        if (!/\.stl$/i.test(model)) throw new MillraceError('E_SLICER', 'CuraEngine reads STL files only');
        const args = ['slice', '-p', '-j', profile, '-o', output, '-l', model];
        const ended = await runProgram(program, args, {
          signal: stop,
          onLine: (line) => {
            const share = /(\d+(?:\.\d+)?)%/.exec(line)?.[1];
            if (share !== undefined) progress(Math.min(100, Number(share)));
          },
        });
        if (ended.code !== 0) {
          throw new MillraceError('E_SLICER', `CuraEngine could not slice ${model}: ${lastWords(ended)}`);
        }
      },
    };
  },
};
