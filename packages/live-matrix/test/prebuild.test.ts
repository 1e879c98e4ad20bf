import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { appendFile, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadAddon } from '../src/engines/native-load.ts';

const packageRoot = fileURLToPath(new URL('../', import.meta.url));
const here = `${process.platform}-${process.arch}`;
const addon = `prebuilds/${here}/live_matrix.node`;
const root = mkdtempSync(join(tmpdir(), 'millrace-prebuild-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const made = spawnSync(process.execPath, [join(packageRoot, 'scripts/prebuild.mjs'), '--to', join(root, 'prebuilds')], {
  encoding: 'utf8',
});

if (made.status !== 0) {
  console.log(`prebuilds: NOT CHECKED, ${made.stderr.trim()}`);
  describe('prebuilds that cannot be built', () => {
    it('are skipped with one line that gives the reason', () => {
      expect(made.stderr).toMatch(/^no prebuild: .+\n$/);
    });
  });
} else {
  /** Makes a folder `native/` with this machine's prebuild, and with a locally built addon if `built`. */
  const nativeFolder = (name: string, built: boolean): string => {
    const folder = join(root, name);
    cpSync(join(root, 'prebuilds'), join(folder, 'prebuilds'), { recursive: true });
    if (built) {
      mkdirSync(join(folder, 'build'));
      copyFileSync(join(root, addon), join(folder, 'build/live_matrix.node'));
    }
    return folder;
  };
  const load = (folder: string) => loadAddon(pathToFileURL(`${folder}/`));

  describe('the loader of the native engine', () => {
    it('prefers the prebuild to a local build', () => {
      const { place, addon: loaded, faults } = load(nativeFolder('both', true));
      expect(place).toBe(`native/${addon}`);
      expect(faults).toEqual([]);
      expect(loaded?.kernelNames().length).toBeGreaterThan(0);
    });

    it.each([
      ['cut off', (file: string) => truncate(file, 20_000), /damaged/],
      ['changed in a byte', (file: string) => appendFile(file, 'x'), /damaged/],
      ['without its digest', async (file: string) => rmSync(`${file}.sha256`), /sha256/],
    ] as const)('skips a prebuild that is %s, and gives the reason', async (what, spoil, why) => {
      const folder = nativeFolder(what, true);
      await spoil(join(folder, addon));
      const { place, faults } = load(folder);
      expect(place).toBe('native/build/live_matrix.node');
      expect(faults).toEqual([expect.stringMatching(why)]);
      expect(faults[0]).toContain(`native/${addon} is not used`);
    });

    it('skips a prebuild of another system, and gives the reason', async () => {
      const folder = nativeFolder('foreign', false);
      const foreign = Buffer.from('\x7fELF, but of a machine that nobody has');
      await writeFile(join(folder, addon), foreign);
      await writeFile(join(folder, `${addon}.sha256`), createHash('sha256').update(foreign).digest('hex'));
      const found = load(folder);
      expect(found.addon).toBeUndefined();
      expect(found.faults).toEqual([expect.stringContaining(`native/${addon} is not used: `)]);
    });

    const arm = join(root, 'prebuilds/linux-arm64/live_matrix.node');
    if (existsSync(arm)) {
      it('finds an addon for 64-bit ARM if there is a cross compiler', () => {
        expect(readFileSync(arm).readUInt16LE(18)).toBe(183); // ELF: e_machine, EM_AARCH64
      });
    } else console.log('prebuild for 64-bit ARM: NOT CHECKED, there is no cross compiler');

    it('finds nothing, without an error, in an empty folder', () => {
      expect(load(join(root, 'nothing'))).toEqual({ faults: [] });
    });
  });

  describe('the package as npm packs it', () => {
    const installed = join(root, 'app/node_modules/@millrace/live-matrix');
    let listed: string[] = [];

    /** Packs a package and unpacks it elsewhere. Returns the paths of its files. */
    function packInto(from: string, to: string): string[] {
      const said = execFileSync('npm', ['pack', '--json', '--offline', '--pack-destination', root], {
        cwd: from,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      const [packed] = JSON.parse(said) as { filename: string; files: { path: string }[] }[];
      mkdirSync(to, { recursive: true });
      execFileSync('tar', ['-xzf', join(root, packed?.filename ?? ''), '--strip-components=1', '-C', to]);
      return packed?.files.map(({ path }) => path) ?? [];
    }

    beforeAll(() => {
      // A copy: the checkout's loader must not find a prebuild while other tests run.
      const copy = join(root, 'package');
      for (const part of ['package.json', 'README.md', 'dist', 'wasm', 'native/addon.c', 'scripts/prebuild.mjs']) {
        cpSync(join(packageRoot, part), join(copy, part), { recursive: true });
      }
      cpSync(join(root, 'prebuilds'), join(copy, 'native/prebuilds'), { recursive: true });
      listed = packInto(copy, installed);
      // The modules of base that the package uses load no library, so base's dependencies are not needed.
      const base = join(root, 'base');
      for (const part of ['package.json', 'dist'])
        cpSync(join(packageRoot, '../base', part), join(base, part), { recursive: true });
      packInto(base, join(root, 'app/node_modules/@millrace/base'));
      const modules = join(root, 'app/node_modules');
      mkdirSync(join(modules, '@noble'));
      const noble = join(dirname(fileURLToPath(import.meta.resolve('@noble/hashes/sha2.js'))));
      symlinkSync(noble, join(modules, '@noble/hashes'));
    });

    it('contains the prebuild, its digest and the runtime files, and no sources to build', () => {
      expect(listed).toContain(`native/${addon}`);
      expect(listed).toContain(`native/${addon}.sha256`);
      expect(listed).toContain('dist/index.js');
      expect(listed).toContain('wasm/keccak-simd.wasm');
      expect(listed.filter((path) => /\.(c|h|log|tsbuildinfo)$|^scripts/.test(path))).toEqual([]);
    });

    /** The engine that a program with the package gets, without a compiler in its PATH. */
    function engineOf(): { readonly said: string; readonly warned: string } {
      const program = `import { createEngine } from '@millrace/live-matrix';
        const engine = createEngine();
        const out = new Uint32Array(2);
        engine.hashRange({ suite: 'keccak256', revision: 0n, key: new Uint8Array(32) }, 0, out);
        console.log(engine.name, out[0].toString(16), out[1].toString(16));`;
      const run = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
        cwd: join(root, 'app'),
        encoding: 'utf8',
        env: { PATH: '/nonexistent' },
      });
      return { said: run.stdout.trim(), warned: run.stderr };
    }

    it('runs the native engine without a compiler', () => {
      expect(existsSync(join(installed, 'native/build'))).toBe(false);
      expect(engineOf()).toEqual({ said: 'native 91e580c9 31743878', warned: '' });
    });

    it('runs WebAssembly when the prebuild is damaged, and warns in one line', async () => {
      const file = join(installed, 'native', addon);
      const whole = readFileSync(file);
      await truncate(file, whole.length - 1);
      const { said, warned } = engineOf();
      await writeFile(file, whole);
      expect(said).toMatch(/^wasm.* 91e580c9 31743878$/);
      expect(warned).toMatch(/MillraceWarning: native\/prebuilds\/.* is damaged.*; WebAssembly runs instead/);
    });
  });
}
