import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Bytes, copyBytes, encodeCbor, systemRandom, utf8 } from '@millrace/base';
import * as archive from '@millrace/cli/parts';
import { machineFromJson, newBackupKey, parseDescription, writeArchive } from '@millrace/cli/parts';
import { readJson } from '@millrace/client/node';
import { loadNodeConfig } from '@millrace/cloud/parts';
import { estimateDesign, syntheticDesign } from '@millrace/gcode';
import { generateP256Key } from '@millrace/identity';
import type { CloudLink } from '@millrace/machine/parts';
import { createControlCalls, defaultTiming, loadMachineConfig, openRunStore } from '@millrace/machine/parts';
import { firstDocument, parseAddresses, signDirectory, verifyDirectory } from '@millrace/protocol';
import { encodeLoosely, mutateValue } from '@millrace/testkit/fuzz/mutate';
import type { Random } from '@millrace/testkit/fuzz/random';
import type { Target } from '@millrace/testkit/fuzz/target';
import { createOpening, createProtocolFixture } from '@millrace/testkit/protocol/support';

/** G-code, files, and answers to the agent. */
export async function machineTargets(): Promise<{ targets: Target[]; close: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-fuzz-'));
  return {
    targets: [gcodeTarget(), ...(await answerTargets()), ...(await fileTargets(folder)), await archiveTarget(folder)],
    close: () => rm(folder, { recursive: true, force: true }),
  };
}

function gcodeTarget(): Target {
  const synthetic = copyBytes(Buffer.concat([...syntheticDesign({ bytes: 2_000, seed: 3 })]));
  const other = [
    'G21\nG90\nM82\nG28\nG92 E0\nM104 S200\nM140 S60\nM109 S200\nG1 X10 Y10 F6000\nG2 X20 Y10 I5 J0 E.5\nG3 X30 Y20 R30\nG4 P5\nM106 S255\nM84\n',
    'N1 G1 X1 Y2*43\nG91\nG1 X-1.5 E.02 ; comment (with brackets)\n(another)G1 Z.2\nT0\nSTART_PRINT BED=60\n%\nG20\nG1 X1\nM221 S50\nM220 S200\nG10\nG11\nM600\n',
    'G17\nG5 I0 J3 P0 Q-3 X2 Y2\nG1 X2 Y2 F600\nG2 X3 Y2 I.5 J0\nM201 X500 Y500\nM203 X100\nM204 P500 T500\nM205 X8 J.02\n',
  ].map(utf8);
  const words = [
    'G1',
    'G0',
    'G2',
    'G3',
    'G92',
    'G28',
    'G4',
    'M104',
    'M109',
    'M201',
    'M203',
    'M204',
    'M205',
    'M220',
    'M221',
    'G10',
    'G20',
    'G91',
  ];
  const numbers = [
    '0',
    '-0',
    '1e9',
    '99999999999999999999',
    '-1',
    '.00000000000000000001',
    '1.7976931348623157',
    '4294967296',
    '0.1',
    '-.5',
    '1000000',
    '',
  ];
  return {
    name: 'G-code',
    samples: [synthetic, ...other],
    make: (random) =>
      utf8(
        Array.from({ length: 1 + random.below(20) }, () =>
          [
            random.pick(words),
            ...Array.from(
              { length: random.below(5) },
              () => `${random.pick([...'XYZEFIJRPSKTQ'])}${random.pick(numbers)}`,
            ),
          ].join(' '),
        ).join('\n'),
      ),
    cost: 'middling',
    codes: ['E_GCODE', 'E_DESIGN_EMPTY'],
    decode: (input) => estimateDesign([input.subarray(0, input.length >> 1), input.subarray(input.length >> 1)]),
    accepts: (result) => Number.isFinite((result as { totalSeconds: number }).totalSeconds),
  };
}

async function answerTargets(): Promise<Target[]> {
  const opening = await createOpening(createProtocolFixture());
  const { permit, print, licence, licenceSigner, printSigner, machine } = opening;
  const answers = {
    next: [{ print: '0'.repeat(32) }, {}],
    callHome: [
      {
        ...{ permit, print, licence, licenceSigner, printSigner, machine },
        ...{ amendments: [{ transaction: print, credential: printSigner }], credits: [], core: print },
      },
    ],
    report: [{}],
  };
  const target = (method: keyof typeof answers): Target => {
    let reply: Bytes = new Uint8Array();
    const link = { call: async () => reply } as unknown as CloudLink;
    const calls = createControlCalls(link, defaultTiming);
    const { signal } = new AbortController();
    return {
      name: `answer to ${method}`,
      samples: answers[method].map((answer) => encodeCbor(answer as never)),
      make: (random) => encodeLoosely(mutateValue(random.pick<unknown>(answers[method]), random)),
      cost: 'cheap',
      codes: ['E_INPUT'],
      decode: (input) => {
        reply = input;
        if (method === 'next') return calls.next(signal);
        return method === 'report' ? calls.report(input, signal) : calls.callHome(input, signal);
      },
      accepts: 'any',
    };
  };
  return [target('next'), target('callHome'), target('report')];
}

const jsonOf = (value: unknown): Bytes =>
  utf8(JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? Number(part) : part)) ?? 'null');

async function fileTargets(folder: string): Promise<Target[]> {
  const { directory, machine, keys } = createProtocolFixture();
  const { installation, adminKey } = directory;
  const anchor = { installation, adminKey };
  const signed = await signDirectory(keys.admin, firstDocument(directory, 1));
  await writeFile(join(folder, 'directory.json'), jsonOf(signed));
  const settings = {
    role: 'machine',
    ...anchor,
    serial: 's',
    kind: 'virtual',
    profile: { factor: 1 },
    material: 'PLA',
    driver: {},
    agent: { order: 16, suite: 'keccak256', hints: 'dense' },
  };
  for (const name of ['tls.crt.pem', 'tls.key.pem']) await writeFile(join(folder, name), 'x');
  await writeFile(join(folder, 'identity.key'), generateP256Key().exportSecret());
  const node = {
    role: 'keys',
    id: 'keys-1',
    ...anchor,
    maintenance: { periodMs: 1_000, density: 50, budget: { bytesPerSecond: 1 } },
    checks: { everyMs: 0, deepEveryMs: 0, afterStartMs: 0 },
    chaffPercent: 30,
  };
  const { publicKey, ...rest } = machine;
  const registration = { ...rest, publicKey: Buffer.from(publicKey).toString('hex') };
  const description = {
    version: 1,
    ...anchor,
    created: 'now',
    users: [{ name: 'u', user: '0'.repeat(32), publicKey: '02'.repeat(33) }],
    machines: [{ name: 'm', material: 'PLA', registration }],
  };
  /** A file of the agent that was tampered with. */
  const file = (name: string, value: unknown, codes: Target['codes'], read: (path: string) => unknown): Target => ({
    name,
    samples: [jsonOf(value)],
    make: (random: Random) => jsonOf(mutateValue(value, random)),
    cost: 'middling',
    codes,
    decode: async (input) => {
      const path = join(folder, name);
      await writeFile(path, input);
      return read(path);
    },
    accepts: 'any',
  });
  return [
    file('machine.json', settings, ['E_CONFIG', 'E_DIRECTORY'], () => loadMachineConfig(folder)),
    file('node.json', node, ['E_CONFIG', 'E_DIRECTORY'], () => loadNodeConfig(folder)),
    file('signed directory.json', signed, ['E_CONFIG', 'E_DIRECTORY'], async (path) =>
      verifyDirectory(await readJson(path), anchor),
    ),
    file(
      'addresses.json',
      { control: { host: 'h', port: 1 }, distribution: { host: 'h', port: 2 } },
      ['E_CONFIG'],
      async (path) => parseAddresses(await readJson(path)),
    ),
    file('installation.json', description, ['E_CONFIG', 'E_INPUT', 'E_MACHINE_UNKNOWN'], async (path) =>
      parseDescription(await readJson(path)).machines.map(({ registration: json }) => machineFromJson(json)),
    ),
    await runTarget(folder),
  ];
}

/** The agent's state is signed, so only what it wrote is accepted. */
async function runTarget(folder: string): Promise<Target> {
  const runs = openRunStore(folder, { key: generateP256Key(), installation: '7'.repeat(32) });
  await runs.write({
    print: '0'.repeat(32),
    run: '1'.repeat(32),
    started: true,
    object: `${'2'.repeat(32)}-1`,
    segments: 1,
    sealed: '5ea1ed',
  });
  const path = join(folder, 'run.state');
  return {
    name: 'run.state',
    samples: [copyBytes(await readFile(path))],
    cost: 'middling',
    codes: ['E_STORE'],
    decode: async (input) => {
      await writeFile(path, input);
      return runs.read();
    },
    accepts: 'samples',
  };
}

async function archiveTarget(folder: string): Promise<Target> {
  const root = join(folder, 'root');
  const { mkdir } = await import('node:fs/promises');
  await mkdir(join(root, 'a'), { recursive: true });
  await writeFile(join(root, 'a', 'one'), new Uint8Array(5_000));
  await writeFile(join(root, 'two'), 'two');
  const path = join(folder, 'backup');
  const { identity, recipient } = await newBackupKey(systemRandom);
  await writeArchive(path, { recipient, sources: [{ root, files: [join('a', 'one'), 'two'] }] });
  const sample = copyBytes(await readFile(path));
  return {
    name: 'backup',
    samples: [sample],
    cost: 'dear',
    codes: ['E_BACKUP'],
    decode: async (input) => {
      const target = join(folder, 'restored');
      await rm(target, { recursive: true, force: true });
      await mkdir(target);
      await writeFile(path, input);
      return archive.readArchive(path, [identity], target);
    },
    accepts: 'samples',
  };
}
