import { chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { estimateDesign, SlicerNotes } from '@millrace/gcode';
import { temporaryFolder } from '@millrace/testkit/cli/helpers';
import { beforeAll, describe, expect, it } from 'vitest';
import { findSlicer } from '../src/slicing/find-slicer.ts';
import { isModel, type SliceOptions, sliceModel } from '../src/slicing/model.ts';
import { findProgram, runProgram } from '../src/slicing/run.ts';

const samples = fileURLToPath(new URL('../../../samples/', import.meta.url));
const stl = join(samples, 'impeller.stl');
const profile = join(samples, 'impeller.ini');
const prusa = await findProgram(['prusa-slicer', 'PrusaSlicer'], process.env.PATH);
if (prusa === undefined)
  process.stdout.write('slicing.test: no PrusaSlicer in PATH: tests with the real slicer do not run\n');

let folder: string;
let programs: string;
beforeAll(async () => {
  folder = await temporaryFolder();
  programs = join(folder, 'programs');
  await mkdir(programs);
});

const options = (more: Partial<SliceOptions> = {}): SliceOptions => ({
  model: stl,
  profile,
  folder: join(folder, 'uploads'),
  env: process.env,
  progress: () => undefined,
  ...more,
});

/** Makes a program of that name that runs `script`, in its own folder. Returns the PATH for `env`. */
async function fake(name: string, script: string): Promise<{ PATH: string }> {
  const path = await temporaryFolder();
  await writeFile(join(path, name), `#!/bin/sh\n${script}\n`);
  await chmod(join(path, name), 0o755);
  return { PATH: path };
}

async function expectNothingLeft(): Promise<void> {
  const left = await readdir(join(folder, 'uploads')).catch(() => []);
  expect(left).toEqual([]);
}

describe('a model', () => {
  it('is an STL or 3MF file', () => {
    for (const name of ['a.stl', 'a.STL', 'b.3mf']) expect(isModel(name), name).toBe(true);
    for (const name of ['a.gcode', 'stl', 'a.stl.gcode', 'a.bin']) expect(isModel(name), name).toBe(false);
  });

  it.runIf(prusa !== undefined)('is sliced by the real PrusaSlicer, with progress, as STL and as 3MF', async () => {
    const threeMf = join(folder, 'impeller.3mf');
    const exported = await runProgram(prusa ?? '', ['--export-3mf', '--output', threeMf, stl]);
    expect(exported.code).toBe(0);
    for (const model of [stl, threeMf]) {
      const percents: number[] = [];
      const sliced = await sliceModel(options({ model, progress: (percent) => percents.push(percent) }));
      expect(percents.length).toBeGreaterThan(3);
      expect(sliced.slicer).toMatch(/^PrusaSlicer \d/);
      expect(sliced.profile).toBe('impeller.ini');
      expect(Buffer.from(sliced.settings)).toEqual(await readFile(profile));
      expect(sliced.source).toMatchObject({ path: model, size: (await stat(model)).size });
      const gcode = await readFile(sliced.path);
      const notes = new SlicerNotes();
      notes.push(gcode);
      const slicer = notes.finish() ?? 0;
      const { totalSeconds, layers, unknownCommands } = await estimateDesign([gcode]);
      expect(layers).toBe(52);
      expect(unknownCommands).toBe(0);
      // The slicer leaves out heating and homing: 101 s.
      expect(Math.abs((totalSeconds - 101) / slicer - 1)).toBeLessThan(0.05);
      await sliced.remove();
      await expectNothingLeft();
    }
  });

  it.runIf(prusa !== undefined)('that PrusaSlicer rejects ends with its message', async () => {
    const broken = join(folder, 'broken.stl');
    await writeFile(broken, 'solid nothing');
    await expect(sliceModel(options({ model: broken }))).rejects.toMatchObject({
      code: 'E_SLICER',
      message: expect.stringContaining('broken.stl'),
    });
    const wrong = join(folder, 'wrong.ini');
    await writeFile(wrong, 'layer_height = thick\n');
    await expect(sliceModel(options({ profile: wrong }))).rejects.toMatchObject({
      code: 'E_SLICER',
      message: expect.stringContaining('layer_height'),
    });
    await expectNothingLeft();
  });

  it('is not sliced when no slicer is installed: the error says what to install', async () => {
    await expect(sliceModel(options({ env: { PATH: programs } }))).rejects.toMatchObject({
      code: 'E_SLICER',
      message: expect.stringMatching(/install PrusaSlicer/),
    });
    await expectNothingLeft();
  });

  it.each([
    ['fails', 'echo "[2026-01-01 00:00:00] [0x1] [error]   the bed is too small" >&2; exit 1', /the bed is too small/],
    ['is killed', 'kill -9 $$', /SIGKILL/],
    ['says that it worked and wrote nothing', 'echo "Slicing result exported to x"', /wrote no G-code/],
    ['ends well without a result', 'echo "Loading of a model file failed."', /Loading of a model file failed/],
  ])('is rejected with E_SLICER when the slicer %s', async (_, script, words) => {
    const env = await fake('prusa-slicer', `[ "$1" = --help ] && { echo PrusaSlicer-9.9.9; exit 0; }\n${script}`);
    await expect(sliceModel(options({ env }))).rejects.toMatchObject({
      code: 'E_SLICER',
      message: expect.stringMatching(words),
    });
    await expectNothingLeft();
  });

  it('is rejected when the file or profile is missing, or the profile is invalid', async () => {
    await expect(sliceModel(options({ model: '/no/part.stl' }))).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
    await expect(sliceModel(options({ profile: '/no/fine.ini' }))).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
    await expect(sliceModel(options({ profile: stl }))).rejects.toMatchObject({ code: 'E_SLICER' });
  });

  it('is abandoned when the user interrupts: the slicer is stopped, nothing is left behind', async () => {
    const env = await fake('prusa-slicer', '[ "$1" = --help ] && exit 0\necho "10 => begun"; exec sleep 60');
    const stop = new AbortController();
    const progress = () => stop.abort(new Error('interrupted'));
    await expect(
      sliceModel(options({ env: { PATH: `${env.PATH}:${process.env.PATH}` }, signal: stop.signal, progress })),
    ).rejects.toThrow('interrupted');
    await expectNothingLeft();
  });

  it('that changes while it is sliced is rejected', async () => {
    const model = join(folder, 'growing.stl');
    await writeFile(model, 'solid');
    const env = await fake(
      'prusa-slicer',
      `[ "$1" = --help ] && exit 0\necho more >> "$6"; echo G28 > "$5"; echo "Slicing result exported"`,
    );
    await expect(sliceModel(options({ env, model }))).rejects.toMatchObject({ code: 'E_CONFLICT' });
    await expectNothingLeft();
  });
});

describe('CuraEngine', () => {
  it('is called with its own arguments, for its kind of profiles', async () => {
    const definition = join(folder, 'printer.def.json');
    await writeFile(definition, '{}');
    const env = await fake(
      'CuraEngine',
      `[ "$1" = help ] && { echo "Cura_SteamEngine version 5.4.0"; exit 0; }\necho "Progress:inset+skin:3:7 42.5%"\n` +
        'echo ";TIME:60" > "$6"; echo "$@" >> "$6"',
    );
    const percents: number[] = [];
    const task = options({ profile: definition, env, progress: (percent) => percents.push(percent) });
    const sliced = await sliceModel(task);
    expect(sliced.slicer).toBe('CuraEngine 5.4.0');
    expect(percents).toEqual([42.5]);
    expect(await readFile(sliced.path, 'utf8')).toContain(`slice -p -j ${definition} -o ${sliced.path} -l ${stl}`);
    await sliced.remove();
    await expect(sliceModel({ ...task, model: join(samples, 'part.3mf') })).rejects.toMatchObject({
      code: 'E_NOT_FOUND',
    });
  });

  it('can be replaced by another program', async () => {
    const { PATH } = await fake('my-slicer', 'echo PrusaSlicer-1.2.3');
    const slicer = await findSlicer(profile, { PATH: programs, MILLRACE_SLICER: join(PATH, 'my-slicer') });
    expect(slicer.name).toBe('PrusaSlicer 1.2.3');
    await expect(findSlicer(profile, { PATH: programs, MILLRACE_SLICER: '/no/slicer' })).rejects.toMatchObject({
      code: 'E_SLICER',
    });
  });
});
