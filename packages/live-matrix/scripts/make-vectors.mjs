// Writes vectors/live-matrix/*.json with the TypeScript engine. test/vectors.test.ts checks them with a second
// implementation that shares no code with this package.
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import {
  createEngine,
  createSender,
  deriveSeed,
  generatorColumns,
  layoutBlocks,
  parityOf,
  Ratchet,
} from '../dist/index.js';

const engine = createEngine('ts');
const folder = new URL('../../../vectors/live-matrix/', import.meta.url);
const hex = (bytes) => Buffer.from(bytes).toString('hex');
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
const expand = (text, length) => createHash('shake256', { outputLength: length }).update(text).digest();
const words = (values) => Buffer.from(Uint32Array.from(values).buffer);

function write(name, document) {
  writeFileSync(new URL(`${name}.json`, folder), `${JSON.stringify(document, null, 2)}\n`);
}

mkdirSync(folder, { recursive: true });

const hashes = [];
for (const suite of ['keccak256', 'turboshake128']) {
  for (const [revision, key] of [
    [0n, new Uint8Array(32)],
    [1n, expand('key 1', 32)],
    [0x0123456789abcdefn, expand('key 2', 32)],
    [2n ** 64n - 1n, new Uint8Array(32).fill(0xff)],
  ]) {
    for (const [high, values] of [
      [0, [0, 1, 255, 65535, 16777215, 4294967295]],
      [0xdeadbeef, [7, 0x80000000]],
    ]) {
      const out = new Uint32Array(2 * values.length);
      engine.hashBatch({ suite, revision, key }, high, Uint32Array.from(values), out);
      values.forEach((value, i) => {
        const g = (BigInt(high) << 32n) | BigInt(value);
        hashes.push({
          suite,
          g: g.toString(),
          t: revision.toString(),
          k: hex(key),
          lane0: hex(words(out.subarray(2 * i, 2 * i + 2))),
        });
      });
    }
  }
}
const ranges = [];
for (const suite of ['keccak256', 'turboshake128']) {
  const out = new Uint32Array(65536);
  engine.hashRange({ suite, revision: 5n, key: expand('range', 32) }, 0, out);
  ranges.push({
    suite,
    t: '5',
    k: hex(expand('range', 32)),
    first: 0,
    count: out.length,
    sha256OfLowWords: sha256(words(out)),
  });
}
write('hash', { about: 'lane 0 of H(g,t,k), 8 bytes in hex; spec/live-matrix.md section 3', hashes, ranges });

const seed = expand('seed', 32);
const ratchet = new Ratchet(seed, 62n);
const revisions = [];
const record = () =>
  revisions.push({
    revision: ratchet.revision.toString(),
    table: hex(ratchet.keys.table),
    chaff: hex(ratchet.keys.chaff),
    mac: hex(ratchet.keys.mac),
    parity: hex(ratchet.keys.parity),
  });
record();
ratchet.advance();
record();
ratchet.mix(expand('fresh', 32));
ratchet.advance();
record();
ratchet.advance();
record();
const inputs = {
  transcriptHash: expand('transcript', 32),
  secrets: [expand('dh one', 32), expand('dh two', 32), expand('licence secret', 32)],
  suite: 'keccak256',
  serial: 'MP-0042',
  licence: 'licence-1',
  object: 'object-1',
  playbookHash: expand('playbook', 32),
};
write('ratchet', {
  about: 'seed, ratchet and the keys of revisions; spec/live-matrix.md section 4',
  seed: {
    ...inputs,
    transcriptHash: hex(inputs.transcriptHash),
    secrets: inputs.secrets.map(hex),
    playbookHash: hex(inputs.playbookHash),
    result: hex(deriveSeed(inputs)),
  },
  firstSecret: hex(seed),
  freshSecretBefore64: hex(expand('fresh', 32)),
  revisions,
});

const generator = Buffer.from(generatorColumns().buffer);
const parities = [];
for (const [mode, order, hints, blockHints] of [
  ['dense', 16, 1, 342],
  ['dense', 16, 100, 64],
  ['dense', 24, 342, 342],
  ['dense', 24, 5462, 342],
  ['dense', 24, 1000, 171],
  ['sparse', 24, 700, 342],
]) {
  const blocks = layoutBlocks(mode, hints, blockHints);
  const bytes = expand(`parity ${hints}`, (hints * order) / 8);
  const values = Uint32Array.from({ length: hints }, (_, i) => {
    const at = (i * order) / 8;
    return order === 16 ? bytes.readUInt16LE(at) : bytes.readUIntLE(at, 3);
  });
  parities.push({
    mode,
    order,
    hints,
    blockHints,
    blocks: blocks.map(({ hints: size, parityBytes }) => ({ hints: size, parityBytes })),
    cellShake256Of: `parity ${hints}`,
    parity: hex(parityOf(values, order, blocks)),
  });
}
write('parity', {
  about: 'generator, blocks and parity of the linear code; spec/live-matrix.md section 6',
  columns: {
    0: hex(generator.subarray(0, 64)),
    1: hex(generator.subarray(64, 128)),
    8207: hex(generator.subarray(-64)),
  },
  generatorBytes: generator.length,
  generatorSha256: sha256(generator),
  parities,
});

const frames = [];
for (const [name, parameters, length, revisionsOn] of [
  ['dense16 short', { suite: 'keccak256', order: 16, hints: 'dense' }, 64, 0],
  ['dense16 turboshake', { suite: 'turboshake128', order: 16, hints: 'dense', blockHints: 40 }, 256, 1],
  ['sparse16', { suite: 'keccak256', order: 16, hints: 'sparse' }, 128, 0],
  ['sparse16 chaff', { suite: 'turboshake128', order: 16, hints: 'sparse', chaffPercent: 50 }, 128, 2],
  ['dense24', { suite: 'keccak256', order: 24, hints: 'dense' }, 300, 0],
  ['dense24 segment', { suite: 'keccak256', order: 24, hints: 'dense' }, 16386, 3],
  ['sparse24 chaff', { suite: 'keccak256', order: 24, hints: 'sparse', chaffPercent: 10 }, 300, 0],
  ['sparse24 segment', { suite: 'turboshake128', order: 24, hints: 'sparse' }, 16386, 1],
]) {
  const sessionId = expand(`session ${name}`, 16);
  const frameSeed = expand(`seed ${name}`, 32);
  const firstRevision = 2n ** 40n;
  const sender = createSender({ parameters, sessionId, seed: frameSeed, firstRevision, engine });
  for (let i = 0; i < revisionsOn; i++) sender.advance();
  const cell = expand(`cell ${name}`, length);
  const frame = sender.encode(70_000, cell);
  frames.push({
    name,
    parameters,
    sessionId: hex(sessionId),
    firstRevision: firstRevision.toString(),
    firstSecret: hex(frameSeed),
    revision: sender.revision.toString(),
    frameNumber: 70_000,
    cellShake256Of: `cell ${name}`,
    cellBytes: length,
    frameBytes: frame.length,
    frameSha256: sha256(frame),
    ...(length <= 300 ? { cell: hex(cell), frame: hex(frame) } : {}),
  });
}
write('frames', { about: 'whole frames; spec/live-matrix.md sections 5 to 8', frames });
