import { type Bytes, concatBytes, copyBytes, decodeCbor, equalBytes, toHex, u64be, utf8 } from '@millrace/base';
import {
  cosign,
  decodeBundle,
  decodeCertificate,
  decodeEvent,
  decodeOpening,
  encodeBundle,
  encodeCertificate,
  encodeEvent,
  exportCertificate,
  formatAddCheckpoint,
  formatCosignatures,
  formatNote,
  formatTlogProof,
  formatVerifierKey,
  inclusionProof,
  leafHash,
  mapKey,
  mapRootOf,
  noteTypes,
  openCheckpoint,
  parseAddCheckpoint,
  parseCheckpoint,
  parseCosignatures,
  parseNote,
  parseTilePath,
  parseTlogProof,
  parseVerifierKey,
  SALT_LENGTH,
  tilePath,
  treeRoot,
  verifyCertificate,
  verifyConsistency,
  verifyCosignature,
  verifyInclusion,
  verifyMapProof,
} from '@millrace/ledger';
import {
  type AccountRecord,
  bitOf,
  decodeAccount,
  decodeIndex,
  decodePage,
  encodeAccount,
  encodeIndex,
  encodePage,
  LEAF_BYTES,
} from '@millrace/ledger/parts';
import { encodeLoosely, mutateValue } from '@millrace/testkit/fuzz/mutate';
import type { Target } from '@millrace/testkit/fuzz/target';
import { leavesByRule, naiveReader, storyLedger, witness } from '@millrace/testkit/ledger/helpers';

const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** The public data of the ledger, and what the node reads back from its own store. */
export async function ledgerTargets(): Promise<Target[]> {
  const ledger = await storyLedger();
  const { logKey } = ledger;
  const certificate = await exportCertificate(ledger, 'object-1');
  const parts = decodeCertificate(certificate);
  const openings = parts.entries.map(({ opening }) => copyBytes(opening));
  const encoded = openings.map((opening) => opening.subarray(SALT_LENGTH));
  const events = encoded.map((bytes) => decodeCbor(bytes, 'event'));
  const entries = openings.map((opening, index) => decodeOpening(opening, index).entry);
  const checkpoint = new Uint8Array(parts.checkpoint);
  const note = parseNote(checkpoint);
  const witnessKey = parseVerifierKey(formatVerifierKey(witness.name, witness.publicKey, noteTypes.cosignature));
  const cosigned = await cosign(note.text, 1_700_000_000, witness);
  const withWitness = formatNote({ ...note, signatures: [...note.signatures, cosigned] });
  const proof = { index: 3, hashes: parts.entries[3]?.proof ?? [], checkpoint };
  const head = {
    account: 'object-1',
    kind: 'object' as const,
    state: 'started',
    sequence: 2,
    index: 9,
    hash: new Uint8Array(32),
  };
  const asked = { old: 3, proof: proof.hashes, checkpoint };
  return [
    {
      name: 'add-checkpoint request',
      samples: [formatAddCheckpoint(asked), formatAddCheckpoint({ old: 0, proof: [], checkpoint: withWitness })],
      cost: 'cheap',
      codes: ['E_INPUT'],
      decode: parseAddCheckpoint,
      accepts: (result, input) => equalBytes(formatAddCheckpoint(result as typeof asked), input),
    },
    {
      name: 'answer of a witness',
      samples: [formatCosignatures([cosigned])],
      cost: 'cheap',
      codes: ['E_INPUT'],
      decode: parseCosignatures,
      accepts: (result, input) => equalBytes(formatCosignatures(result as (typeof cosigned)[]), input),
    },
    {
      name: 'certificate',
      samples: [certificate],
      make: (random) => concatBytes(utf8('millrace-certificate/1\n'), encodeLoosely(mutateValue(parts, random))),
      cost: 'middling',
      codes: ['E_CERTIFICATE'],
      decode: decodeCertificate,
      accepts: (result, input) => equalBytes(encodeCertificate(result as typeof parts), input),
    },
    {
      name: 'certificate, verified',
      samples: [certificate],
      make: (random) => concatBytes(utf8('millrace-certificate/1\n'), encodeLoosely(mutateValue(parts, random))),
      cost: 'dear',
      codes: ['E_CERTIFICATE', 'E_LEDGER_CHECKPOINT', 'E_LEDGER_ENTRY', 'E_LEDGER_PROOF'],
      decode: (input) => verifyCertificate(input, { logKey }),
      // A proof up to an earlier event is valid: a certificate does not prove that nothing came later (SECURITY.md).
      accepts: (_, input) => {
        const given = decodeCertificate(input);
        const genuine = given.entries.every(({ opening }, i) =>
          equalBytes(copyBytes(opening), openings[i] ?? new Uint8Array()),
        );
        return genuine && given.object === parts.object && parseNote(given.checkpoint).text === note.text;
      },
    },
    {
      name: 'opening of an entry',
      samples: openings,
      make: (random) => concatBytes(random.bytes(SALT_LENGTH), encodeLoosely(mutateValue(random.pick(events), random))),
      cost: 'cheap',
      codes: ['E_LEDGER_ENTRY'],
      decode: (input) => decodeOpening(input, 4),
      accepts: (result, input) => {
        const { event, opening } = result as ReturnType<typeof decodeOpening>;
        return equalBytes(opening, input) && equalBytes(encodeEvent(event), input.subarray(SALT_LENGTH));
      },
    },
    {
      name: 'event of the ledger',
      samples: encoded,
      make: (random) => encodeLoosely(mutateValue(random.pick(events), random)),
      cost: 'cheap',
      codes: ['E_LEDGER_ENTRY'],
      decode: (input) => decodeEvent(input),
      accepts: (result, input) => equalBytes(encodeEvent(result as ReturnType<typeof decodeEvent>), input),
    },
    {
      name: 'entry bundle',
      samples: [encodeBundle(entries), encodeBundle([])],
      cost: 'cheap',
      codes: ['E_LEDGER_ENTRY'],
      decode: decodeBundle,
      accepts: (result, input) => equalBytes(encodeBundle(result as Bytes[]), input),
    },
    {
      name: 'path of a tile',
      samples: ['tile/0/000', 'tile/entries/x001/x234/067', 'tile/2/x001/000.p/17', 'tile/entries/000.p/255'].map(utf8),
      cost: 'cheap',
      codes: [],
      decode: (input) => parseTilePath(textOf(input)),
      accepts: (result, input) => {
        const name = result as ReturnType<typeof parseTilePath>;
        return name === undefined || tilePath(name) === textOf(input);
      },
    },
    {
      name: 'signed note',
      samples: [checkpoint, withWitness],
      cost: 'cheap',
      codes: ['E_LEDGER_CHECKPOINT'],
      decode: parseNote,
      accepts: (result, input) => equalBytes(formatNote(result as typeof note), input),
    },
    {
      name: 'text of a checkpoint',
      samples: [utf8(note.text)],
      cost: 'cheap',
      codes: ['E_LEDGER_CHECKPOINT'],
      decode: (input) => parseCheckpoint(textOf(input)),
      accepts: 'any',
    },
    {
      name: 'checkpoint, verified',
      samples: [checkpoint, withWitness],
      cost: 'middling',
      codes: ['E_LEDGER_CHECKPOINT'],
      decode: (input) => openCheckpoint(input, { logKey: parseVerifierKey(logKey), witnesses: [witnessKey] }),
      // Unknown signatures may be added to the known ones. The signed text must not change.
      accepts: (_, input) => parseNote(input).text === note.text,
    },
    {
      name: 'cosignature',
      samples: [new Uint8Array(cosigned.signature)],
      cost: 'middling',
      codes: [],
      decode: (input) => verifyCosignature(note.text, witnessKey, input),
      accepts: (result, input) => (result !== undefined) === equalBytes(input, new Uint8Array(cosigned.signature)),
    },
    {
      name: 'key of a log',
      samples: [utf8(logKey)],
      cost: 'cheap',
      codes: ['E_INPUT'],
      decode: (input) => parseVerifierKey(textOf(input)),
      accepts: (result) => {
        const { name, publicKey, type } = result as ReturnType<typeof parseVerifierKey>;
        return parseVerifierKey(formatVerifierKey(name, publicKey, type)).name === name;
      },
    },
    {
      name: 'tlog-proof',
      samples: [formatTlogProof(proof)],
      cost: 'cheap',
      codes: ['E_LEDGER_PROOF'],
      decode: parseTlogProof,
      accepts: (result, input) => equalBytes(formatTlogProof(result as typeof proof), input),
    },
    {
      name: 'index in the store',
      samples: [encodeIndex(7), u64be(2n ** 53n)],
      cost: 'cheap',
      codes: [],
      decode: decodeIndex,
      accepts: (result, input) => result === undefined || toHex(encodeIndex(result as number)) === toHex(input),
    },
    {
      name: 'head of an account',
      samples: [encodeAccount({ head, recent: [1, 2, 9] })],
      cost: 'cheap',
      codes: ['E_LEDGER_ENTRY'],
      decode: (input) => decodeAccount(input, 'object-1'),
      accepts: (result, input) => equalBytes(encodeAccount(result as AccountRecord), input),
    },
    {
      name: 'page of the account map',
      samples: [
        encodePage([new Uint8Array(LEAF_BYTES).fill(1, 39)]),
        encodePage([undefined, new Uint8Array(32).fill(2)]),
      ],
      cost: 'cheap',
      codes: ['E_LEDGER_ENTRY'],
      decode: decodePage,
      accepts: (result, input) => equalBytes(encodePage(result as ReturnType<typeof decodePage>), input),
    },
    ...(await proofTargets()),
    ...mapTargets(),
  ];
}

/** Proofs in a map of 40 accounts: concatenated 32-byte hashes. */
function mapTargets(): Target[] {
  const salt = new Uint8Array(32);
  const leaves = Array.from({ length: 40 }, (_, i) => ({
    key: mapKey(salt, utf8(`account-${i}`)),
    sequence: i,
    hash: new Uint8Array(32).fill(i),
  }));
  const root = mapRootOf(leaves);
  const proofOf = (key: Uint8Array) => {
    const siblings: Bytes[] = [];
    let here = leaves;
    for (let depth = 0; here.length > 1; depth++) {
      const half = (bit: 0 | 1) => here.filter((leaf) => bitOf(leaf.key, depth) === bit);
      const bit = bitOf(key, depth);
      siblings.push(mapRootOf(half(bit === 0 ? 1 : 0), depth + 1));
      here = half(bit);
    }
    return { siblings: concatBytes(...siblings), other: here[0] };
  };
  const [own] = leaves;
  if (own === undefined) throw new Error('no leaves');
  const stranger = mapKey(salt, utf8('nobody'));
  const present = proofOf(own.key).siblings;
  const { siblings: absent, other } = proofOf(stranger);
  return [
    {
      name: 'presence in the account map',
      samples: [present],
      cost: 'cheap',
      codes: [],
      decode: (input) => verifyMapProof(root, own.key, own, { siblings: split(input) }),
      accepts: onlyThe(present),
    },
    {
      name: 'absence from the account map',
      samples: [absent],
      cost: 'cheap',
      codes: [],
      decode: (input) => verifyMapProof(root, stranger, undefined, { siblings: split(input), other }),
      accepts: onlyThe(absent),
    },
  ];
}

const split = (bytes: Uint8Array): Bytes[] =>
  Array.from({ length: Math.ceil(bytes.length / 32) }, (_, i) => copyBytes(bytes.subarray(32 * i, 32 * i + 32)));
const onlyThe = (sample: Bytes) => (result: unknown, input: Bytes) => (result === true) === equalBytes(input, sample);

/** Proofs in a tree of 11 entries: concatenated 32-byte hashes. */
async function proofTargets(): Promise<Target[]> {
  const leaves = leavesByRule(11);
  const read = naiveReader(leaves);
  const root = await treeRoot(11, read);
  const oldRoot = await treeRoot(6, read);
  const leaf = leafHash(utf8('entry 4'));
  const inclusion = concatBytes(...(await inclusionProof(4, 11, read)));
  const { consistencyProof } = await import('@millrace/ledger');
  const consistency = concatBytes(...(await consistencyProof(6, 11, read)));
  return [
    {
      name: 'inclusion proof',
      samples: [inclusion],
      cost: 'cheap',
      codes: [],
      decode: (input) => verifyInclusion(leaf, 4, 11, split(input), root),
      accepts: onlyThe(inclusion),
    },
    {
      name: 'consistency proof',
      samples: [consistency],
      cost: 'cheap',
      codes: [],
      decode: (input) => verifyConsistency(6, 11, split(input), oldRoot, root),
      accepts: onlyThe(consistency),
    },
  ];
}
