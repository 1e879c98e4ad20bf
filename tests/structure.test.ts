import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { errorCodes } from '@millrace/base';
import { describe, expect, it } from 'vitest';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/**
 * The direct imports of each package. The graph has no cycle. The manifests and the table in ARCHITECTURE.md must match
 * it.
 */
const arrows: Readonly<Record<string, readonly string[]>> = {
  base: [],
  'live-matrix': ['base'],
  identity: ['base'],
  ledger: ['base'],
  anchor: ['base', 'ledger'],
  stores: ['base'],
  cluster: ['base', 'stores'],
  protocol: ['base', 'identity'],
  api: ['base', 'protocol'],
  vault: ['base', 'ledger', 'live-matrix', 'stores'],
  console: ['api', 'base', 'client', 'gcode', 'identity', 'ledger', 'protocol'],
  cloud: ['api', 'base', 'cluster', 'console', 'identity', 'ledger', 'live-matrix', 'protocol', 'stores', 'vault'],
  gcode: ['base'],
  toolpath: ['base'],
  machine: ['api', 'base', 'gcode', 'toolpath', 'identity', 'live-matrix', 'protocol', 'vault'],
  agent: ['api', 'base', 'identity', 'live-matrix', 'machine', 'protocol'],
  peer: ['base', 'identity', 'live-matrix'],
  witness: ['base', 'identity', 'ledger', 'protocol'],
  client: ['api', 'base', 'gcode', 'identity', 'ledger', 'protocol', 'toolpath', 'vault'],
  cli: [
    'anchor',
    'base',
    'identity',
    'ledger',
    'live-matrix',
    'protocol',
    'vault',
    'cloud',
    'machine',
    'client',
    'peer',
    'witness',
  ],
  lab: [
    'api',
    'base',
    'identity',
    'ledger',
    'live-matrix',
    'protocol',
    'stores',
    'vault',
    'cloud',
    'gcode',
    'machine',
    'client',
    'cli',
  ],
  testkit: [
    'base',
    'identity',
    'ledger',
    'live-matrix',
    'protocol',
    'stores',
    'vault',
    'cloud',
    'gcode',
    'machine',
    'client',
    'cli',
  ],
};
const MAX_WIDTH = 120;
const MAX_LINES = 500;

interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  /** Imported on demand; may be missing on a platform. */
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly exports?: Readonly<Record<string, Target>>;
  readonly imports?: Readonly<Record<string, Target>>;
}

const packages = readdirSync(join(root, 'packages')).filter((name) =>
  statSync(join(root, 'packages', name)).isDirectory(),
);

function sources(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return ['node_modules', 'dist'].includes(entry.name) ? [] : sources(path);
    return /\.(ts|tsx|mjs)$/.test(entry.name) ? [path] : [];
  });
}

const sourcesOf = (name: string) => sources(join(root, 'packages', name, 'src'));

/** The modules that a source file names in import, export … from, and import(). */
function importsOf(text: string): string[] {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|\s)\/\/.*$/gm, '$1');
  const pattern = /\b(?:import|export)\b(?:[^'";]*?\bfrom)?\s*\(?\s*['"]([^'"]+)['"]/g;
  return [...code.matchAll(pattern)].map((match) => match[1] ?? '');
}

/** "@millrace/base/x" → "@millrace/base", "zod/v4" → "zod". */
function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

function manifestOf(name: string): Manifest {
  return JSON.parse(readFileSync(join(root, 'packages', name, 'package.json'), 'utf8'));
}

/** The packages that files import, without Node's own modules and the importing package. */
function packagesUsed(files: readonly string[], name: string): Set<string> {
  const specifiers = files.flatMap((file) => importsOf(readFileSync(file, 'utf8')));
  const used = specifiers.filter((specifier) => /^[@a-z]/.test(specifier) && !specifier.startsWith('node:'));
  return new Set(used.map(packageOf).filter((dependency) => dependency !== `@millrace/${name}`));
}

/** The table of packages in ARCHITECTURE.md: the imports of each one, by name or as "all but …". */
function documentedArrows(): Record<string, string[]> {
  const text = readFileSync(join(root, 'ARCHITECTURE.md'), 'utf8');
  const rows = [...text.matchAll(/^\| `packages\/([a-z-]+)` \|[^|\n]*\|([^|\n]*)\|$/gm)].map(
    ([, name = '', imports = '']) => [name, imports.trim()] as const,
  );
  const all = rows.map(([name]) => name);
  const namesIn = (list: string) => list.split(', ').filter((name) => name !== '');
  return Object.fromEntries(
    rows.map(([name, imports]) => {
      const left = /^all but (.*)$/.exec(imports)?.[1];
      const names =
        left === undefined ? namesIn(imports) : all.filter((other) => ![name, ...namesIn(left)].includes(other));
      return [name, names.sort()];
    }),
  );
}

/** The numbers of the Markdown lines that are too long. A line that is one URL cannot be broken. */
function wideLines(file: string): number[] {
  return readFileSync(join(root, file), 'utf8')
    .split('\n')
    .flatMap((line, at) => ([...line].length > MAX_WIDTH && !/^\s*<?https?:\/\/\S+>?$/.test(line) ? [at + 1] : []));
}

type Target = string | { readonly [condition: string]: Target };

/** The source that a package's `exports` or `imports` name for these conditions. */
function targetOf(target: Target | undefined, conditions: readonly string[]): string {
  if (typeof target === 'string') return target;
  const condition = Object.keys(target ?? {}).find((name) => conditions.includes(name));
  if (target === undefined || condition === undefined) throw new Error('no such export');
  return targetOf(target[condition], conditions);
}

/** The file of a specifier; undefined for a module from outside the repository. */
function fileOf(specifier: string, from: string, conditions: readonly string[]): string | undefined {
  if (specifier.startsWith('.')) return join(dirname(from), specifier);
  const [, own = '', path] = /^@millrace\/([^/]+)(?:\/(.+))?$/.exec(specifier) ?? [];
  const name = specifier.startsWith('#') ? relative(join(root, 'packages'), from).split(sep)[0] : own;
  if (name === undefined || name === '') return undefined;
  const { exports, imports } = manifestOf(name);
  const target = specifier.startsWith('#') ? imports?.[specifier] : exports?.[path === undefined ? '.' : `./${path}`];
  return join(root, 'packages', name, targetOf(target, conditions));
}

const inNode = ['@millrace/source', 'node', 'default'];
const inBrowsers = ['browser', '@millrace/source', 'default'];

/** The external modules that an entry reaches through our packages; with `lazily`, also those of import(). */
function outsideOf(entry: string, conditions: readonly string[], { lazily }: { readonly lazily: boolean }): string[] {
  const seen = new Set<string>();
  const found = new Set<string>();
  const visit = (file: string) => {
    if (seen.has(file)) return;
    seen.add(file);
    const code = readFileSync(file, 'utf8').replace(/\b(import|export) type\b[^;]*;/g, '');
    for (const specifier of importsOf(lazily ? code : code.replace(/\bimport\(/g, ''))) {
      const target = fileOf(specifier, file, conditions);
      if (target === undefined) found.add(specifier);
      else visit(target);
    }
  };
  visit(join(root, 'packages', entry));
  return [...found].sort();
}

/** The libraries that a module loads before its first line runs, also through our packages. */
function librariesOf(entry: string): string[] {
  const outside = outsideOf(entry, inNode, { lazily: false });
  return [...new Set(outside.filter((specifier) => !specifier.startsWith('node:')).map(packageOf))];
}

/** A cycle in a graph, as a path that ends where it starts; undefined when there is none. */
function findCycle(graph: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (node: string): string[] | undefined => {
    if (done.has(node)) return undefined;
    const at = path.indexOf(node);
    if (at >= 0) return [...path.slice(at), node];
    path.push(node);
    for (const next of graph.get(node) ?? []) {
      const cycle = visit(next);
      if (cycle !== undefined) return cycle;
    }
    path.pop();
    done.add(node);
    return undefined;
  };
  for (const node of graph.keys()) {
    const cycle = visit(node);
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}

describe('the helpers of this test', () => {
  it('find every form of import, and none in comments', () => {
    const text = [
      "import a from 'a';",
      "import { b,\n c } from '@m/b';",
      "import 'side';",
      "export * from './d.ts';",
      "export type { E } from './e.ts';",
      "const f = await import('f');",
      "// import g from 'g';",
      "/* import h from 'h'; */",
    ].join('\n');
    expect(importsOf(text)).toEqual(['a', '@m/b', 'side', './d.ts', './e.ts', 'f']);
  });

  it('follow packages and the conditions of their exports', () => {
    expect(outsideOf('base/src/index.ts', inNode, { lazily: true })).toContain('node:crypto');
    expect(fileOf('@millrace/base', '', inNode)).toBe(join(root, 'packages/base/src/index.ts'));
    expect(fileOf('@millrace/base', '', inBrowsers)).toBe(join(root, 'packages/base/src/browser-index.ts'));
    expect(fileOf('#bytes', join(root, 'packages/base/src/cbor.ts'), inBrowsers)).toMatch(/bytes-browser\.ts$/);
    expect(fileOf('zod', '', inNode)).toBeUndefined();
  });

  it('find cycles', () => {
    expect(
      findCycle(
        new Map([
          ['a', ['b']],
          ['b', ['c']],
          ['c', ['b']],
        ]),
      ),
    ).toEqual(['b', 'c', 'b']);
    expect(
      findCycle(
        new Map([
          ['a', ['b', 'c']],
          ['b', ['c']],
          ['c', []],
        ]),
      ),
    ).toBeUndefined();
  });
});

describe('packages', () => {
  it('are all listed, and depend on each other in one direction', () => {
    expect([...packages].sort()).toEqual(Object.keys(arrows).sort());
    expect(findCycle(new Map(Object.entries(arrows)))).toBeUndefined();
  });

  it('have the dependencies that ARCHITECTURE.md shows', () => {
    const sorted = Object.entries(arrows).map(([name, imports]) => [name, [...imports].sort()]);
    expect(documentedArrows()).toEqual(Object.fromEntries(sorted));
  });

  it.each(packages)('%s imports only its own files and its declared packages', (name) => {
    const leaving = sourcesOf(name).flatMap((file) =>
      importsOf(readFileSync(file, 'utf8'))
        .filter((specifier) => specifier.startsWith('.'))
        .filter((specifier) =>
          relative(join(root, 'packages', name, 'src'), join(dirname(file), specifier)).startsWith('..'),
        )
        .map((specifier) => `${relative(root, file)}: ${specifier}`),
    );
    expect(leaving).toEqual([]);
    const ours = Object.keys(manifestOf(name).dependencies ?? {}).flatMap(
      (dependency) => /^@millrace\/(.+)$/.exec(dependency)?.[1] ?? [],
    );
    expect(ours.sort()).toEqual([...(arrows[name] ?? [])].sort());
  });

  it.each(packages)('%s declares exactly what it imports', (name) => {
    const { dependencies = {}, devDependencies = {}, optionalDependencies = {} } = manifestOf(name);
    const inSources = packagesUsed(sourcesOf(name), name);
    expect([...Object.keys(dependencies), ...Object.keys(optionalDependencies)].sort()).toEqual([...inSources].sort());
    // Tools of the whole repository (vitest, fast-check) are declared at the root.
    const tools = Object.keys(
      (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest).devDependencies ?? {},
    );
    const folders = ['test', 'scripts'].map((folder) => join(root, 'packages', name, folder)).filter(existsSync);
    const inTests = packagesUsed(folders.flatMap(sources), name);
    const onlyInTests = [...inTests].filter((dependency) => !inSources.has(dependency) && !tools.includes(dependency));
    expect(Object.keys(devDependencies).sort()).toEqual(onlyInTests.sort());
  });

  it('are imported by tests through their exports, never by a path into another package', () => {
    const folders = [join(root, 'tests'), ...packages.map((name) => join(root, 'packages', name, 'test'))];
    const inside = folders.filter(existsSync).flatMap((folder) =>
      sources(folder).flatMap((file) =>
        importsOf(readFileSync(file, 'utf8'))
          .filter((specifier) => specifier.startsWith('.'))
          .map((specifier) => join(dirname(file), specifier))
          .filter((target) => {
            const [top, name] = relative(root, target).split(sep);
            return top === 'packages' && relative(join(root, 'packages', name ?? ''), file).startsWith('..');
          })
          .map((target) => `${relative(root, file)} imports ${relative(root, target)}`),
      ),
    );
    expect(inside).toEqual([]);
  });

  it.each(packages)('%s has no cycle of modules', (name) => {
    const graph = new Map<string, string[]>();
    for (const file of sourcesOf(name)) {
      // `import type` counts too: files that need each other's types cannot be understood separately.
      const targets = importsOf(readFileSync(file, 'utf8')).filter((specifier) => specifier.startsWith('.'));
      graph.set(
        file,
        targets.map((specifier) => join(dirname(file), specifier)),
      );
    }
    expect(findCycle(graph)?.map((file) => relative(root, file))).toBeUndefined();
  });

  /** Roles communicate by messages. Shared code is in `node/`, `streaming/` or a file next to the folders. */
  it('keep the roles of the cloud apart', () => {
    const roles = ['control', 'distribution', 'keys', 'segments'];
    const cloud = join(root, 'packages', 'cloud', 'src');
    /** These start one of several roles, export them, or act on the stopped nodes of an installation. */
    const above = ['main.ts', 'index.ts', 'parts.ts', 'admin'];
    const wrong = sources(cloud).flatMap((file) => {
      const own = relative(cloud, file).split(sep)[0] ?? '';
      return importsOf(readFileSync(file, 'utf8'))
        .filter((specifier) => specifier.startsWith('.'))
        .map((specifier) => relative(cloud, join(dirname(file), specifier)))
        .filter((target) => {
          const role = target.split(sep)[0] ?? '';
          return roles.includes(role) && role !== own && !above.includes(own);
        })
        .map((target) => `${relative(cloud, file)}: ${target}`);
    });
    expect(wrong).toEqual([]);
  });

  it('leave the keys and stores of nodes and machines to their admin exports', () => {
    const secret = /(nodeFiles|machineFiles)\.(identity|tlsKey|permitKey|logKey|formerLogKey|kek)|openLmdb/;
    const wrong = sourcesOf('cli').filter((file) => secret.test(readFileSync(file, 'utf8')));
    expect(wrong.map((file) => relative(root, file))).toEqual([]);
  });

  // Each thread loads its own copy of a library, which costs megabytes.
  it('keep libraries out of worker threads, and the certificate authority out of the agent', () => {
    expect(librariesOf('base/src/core.ts')).toEqual([]);
    expect(librariesOf('live-matrix/src/table/worker.ts')).toEqual(['@noble/hashes']);
    const agent = librariesOf('machine/src/main.ts');
    expect(agent).toContain('zod');
    expect(agent).not.toContain('@peculiar/x509');
  });

  it.each([
    'base',
    'base/core',
    'base/crypto',
    'identity',
    'ledger',
    'protocol',
    'vault',
    'gcode',
    'toolpath',
    'client',
    'client/browser',
  ])('@millrace/%s needs nothing of Node in a browser', (name) => {
    const entry = fileOf(`@millrace/${name}`, '', inBrowsers) ?? '';
    const outside = outsideOf(relative(join(root, 'packages'), entry), inBrowsers, { lazily: true });
    expect(outside.filter((specifier) => !/^(@noble\/|@hpke\/|zod$|uqr$|cborg$|jose$)/.test(specifier))).toEqual([]);
  });

  it.each(['gcode', 'toolpath'])('%s runs in a browser, except the PNG writer', (name) => {
    const wrong = sourcesOf(name).flatMap((file) => {
      const text = readFileSync(file, 'utf8');
      const imports = importsOf(text).filter((specifier) => !/^(\.|@millrace\/base\/core$|zod$)/.test(specifier));
      if (file.endsWith(join('toolpath', 'src', 'png.ts'))) expect(imports).toEqual(['pngjs']);
      else if (imports.length > 0 || /\b(Buffer|process)\b/.test(text)) return [relative(root, file)];
      return [];
    });
    expect(wrong).toEqual([]);
  });

  it('have no file of more than 500 lines', () => {
    const long = packages
      .flatMap(sourcesOf)
      .map((file) => [relative(root, file), readFileSync(file, 'utf8').split('\n').length - 1] as const)
      .filter(([, lines]) => lines > MAX_LINES);
    expect(long).toEqual([]);
  });
});

describe('paths of the HTTP API', () => {
  const isComment = (line: string) => /^\s*(\/?\*|\/\/)/.test(line);
  const matching = (names: readonly string[], pattern: RegExp) =>
    names
      .flatMap(sourcesOf)
      .filter((file) =>
        readFileSync(file, 'utf8')
          .split('\n')
          .some((line) => pattern.test(line) && !isComment(line)),
      )
      .map((file) => relative(join(root, 'packages'), file).split(sep).join('/'))
      .sort();

  // The attackers in the testkit send requests that no client of ours would send.
  it('are written only in packages/api', () => {
    const others = packages.filter((name) => name !== 'api' && name !== 'testkit');
    expect(matching(others, /['"`]\/v1\//)).toEqual([]);
    expect(matching(['api'], /['"`]\/v1\//)).toContain('api/src/links.ts');
  });

  it('are served only by the code that mounts the declared routes and links', () => {
    const serving = /\.route\(\{|\.(get|post|put|delete|patch|head|options|all)\(\s*['"`]\/|\.register\(|'upgrade'/;
    expect(matching(['cloud'], serving)).toEqual([
      'cloud/src/control/console/server.ts',
      'cloud/src/distribution/distribution-node.ts',
      'cloud/src/node/mount.ts',
    ]);
  });
});

describe('errors', () => {
  // "E_FRAME_", the common beginning of several codes, is not a code.
  it('every code in the sources is defined', () => {
    const unknown = packages.flatMap(sourcesOf).flatMap((file) =>
      [...readFileSync(file, 'utf8').matchAll(/(?<![A-Z_])E(?:_[A-Z]+)+(?![A-Z_])/g)]
        .map(([code]) => code)
        .filter((code) => !Object.hasOwn(errorCodes, code))
        .map((code) => `${relative(root, file)}: ${code}`),
    );
    expect(unknown).toEqual([]);
  });

  it('docs/errors.md is up to date', async () => {
    const { errorsPage } = (await import(pathToFileURL(join(root, 'scripts/errors-doc.mjs')).href)) as {
      errorsPage(codes: typeof errorCodes): string;
    };
    expect(readFileSync(join(root, 'docs/errors.md'), 'utf8')).toBe(errorsPage(errorCodes));
  });
});

describe('Markdown', () => {
  const files = execFileSync('git', ['ls-files', '*.md'], { cwd: root, encoding: 'utf8' }).trim().split('\n');

  it(`has no line of more than ${MAX_WIDTH} characters`, () => {
    const wide = files.filter((file) => wideLines(file).length > 0);
    expect(wide.map((file) => `${file}: lines ${wideLines(file).join(', ')}`)).toEqual([]);
  });
});

describe('the walk in ARCHITECTURE.md', () => {
  const page = readFileSync(join(root, 'ARCHITECTURE.md'), 'utf8');
  const walk = [...page.matchAll(/^\d+\. `(packages\/[^`]+)`/gm)].map(([, file = '']) => file);

  it('names files that exist, each once', () => {
    expect(walk.length).toBeGreaterThan(20);
    expect(walk.filter((file) => !existsSync(join(root, file)))).toEqual([]);
    expect(new Set(walk).size).toBe(walk.length);
  });

  it('goes in one direction: no file imports an earlier one', () => {
    const back = walk.flatMap((file, at) =>
      importsOf(readFileSync(join(root, file), 'utf8'))
        .filter((specifier) => specifier.startsWith('.'))
        .map((specifier) =>
          relative(root, join(root, dirname(file), specifier))
            .split(sep)
            .join('/'),
        )
        .filter((target) => walk.slice(0, at).includes(target))
        .map((target) => `${file} imports ${target}`),
    );
    expect(back).toEqual([]);
  });
});
