import { readFile } from 'node:fs/promises';
import {
  type Anchor,
  type AnchorProof,
  anchorBundle,
  decodeAnchored,
  deployAnchorContract,
  EvmAnchor,
  esploraHeaders,
  OpenTimestampsAnchor,
  SymbolAnchor,
  verifyAnchored,
} from '@millrace/anchor';
import {
  type Bytes,
  fromBase64,
  hexOf,
  MillraceError,
  parse,
  toBase64,
  utf8,
  wipe,
  writeDurably,
} from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import { checkCertificate, pick, type Session } from '@millrace/client';
import {
  type Checkpoint,
  consistencyProof,
  openCheckpoint,
  parseVerifierKey,
  TILE_WIDTH,
  tileNodes,
  tilePath,
} from '@millrace/ledger';
import { logKeysOf } from '@millrace/protocol';
import { z } from 'zod';
import { formatFields } from '../output/format.ts';
import { type Context, withSession } from './context.ts';
import { formatCertificate, type TrustOptions, trustGiven } from './objects.ts';

const url = z.url({ protocol: /^https?$/ }).transform((text) => new URL(text));

/** anchors.json: the foreign logs in use, and their settings. */
const configSchema = z.strictObject({
  evm: z
    .strictObject({
      rpc: url,
      contract: z.string(),
      /** Address of the log on the chain. Needed to verify without the key. */
      sender: z.string().optional(),
      /** File with the private key that pays: 64 hexadecimal digits. Needed to submit. */
      keyFile: z.string().optional(),
      confirmations: z.int().min(0).max(10_000).optional(),
    })
    .optional(),
  openTimestamps: z
    .strictObject({
      calendars: z.array(url).min(1).max(16),
      quorum: z.int().min(1).max(16).optional(),
      /** Server with the Esplora API. Needed to verify. */
      headers: url.optional(),
    })
    .optional(),
  symbol: z
    .strictObject({
      /** REST address of a node. */
      node: url,
      network: z.enum(['mainnet', 'testnet']),
      /** Of a private network; default: that of the public one. */
      generationHashSeed: hexOf(32).optional(),
      epochAdjustment: z.int().min(0).max(0xffff_ffff).optional(),
      /** Public key of the log on the chain. Needed to verify without the key. */
      sender: hexOf(32).optional(),
      /** File with the private key that pays: 64 hexadecimal digits. Needed to submit. */
      keyFile: z.string().optional(),
      deadlineMinutes: z.int().min(1).max(360).optional(),
      /** Millionths of an XYM. */
      maxFee: z.int().min(0).max(1_000_000_000).optional(),
    })
    .optional(),
});
type Config = z.output<typeof configSchema>;

/** Output of `anchor submit`: the checkpoint, and the response of each foreign log. */
const anchoredSchema = z.strictObject({
  checkpoint: z.base64(),
  anchors: z.array(z.strictObject({ kind: z.string(), proof: z.base64() })).min(1),
});

/** Deploys the contract on a chain. Needed once per chain. */
export async function deploy(context: Context, options: { rpc: string; key: string }): Promise<void> {
  const rpc = parse(url, options.rpc, '--rpc');
  const contract = await withKey(context.path(options.key), (key) => deployAnchorContract(rpc, key));
  context.terminal.result({ contract }, `The contract is at ${contract}`);
}

/** Anchors the newest checkpoint of the ledger, for the whole log or in an object's own account on a chain. */
export function submit(context: Context, options: { anchors: string; out?: string; object?: string }): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const account = options.object === undefined ? undefined : await accountOf(session, options.object);
    await withAnchors(context, options.anchors, async (anchors) => {
      const checkpoint = await session.api.checkpoint();
      const head = readCheckpoint(session, checkpoint);
      const proofs = await Promise.all(anchors.map((anchor) => anchor.submit(head, account)));
      const file = context.path(options.out ?? `${head.size}.anchor`);
      await writeProofs(file, checkpoint, proofs);
      const kinds = proofs.map(({ kind }) => kind);
      context.terminal.result(
        { file, size: head.size, anchors: kinds },
        `Anchored the ledger of ${head.size} entries with ${kinds.join(' and ')}: wrote ${file}`,
      );
    });
  });
}

/** The account of an object, which has to exist. @throws {MillraceError} E_NOT_FOUND */
async function accountOf(session: Session, wanted: string): Promise<Bytes> {
  const { object } = pick('object', wanted, await session.api.objects(), ({ object }) => [object]);
  return sha256(utf8(object));
}

/** Completes the output of `submit`, and shows the current status of each foreign log. */
export function upgrade(context: Context, file: string, options: { anchors: string }): Promise<void> {
  return withSession(context, 'owner', (session) =>
    withAnchors(context, options.anchors, async (anchors) => {
      const path = context.path(file);
      const { checkpoint, proofs } = await readProofs(path);
      const head = readCheckpoint(session, checkpoint);
      const upgraded = await Promise.all(proofs.map((proof) => anchorFor(anchors, proof).upgrade(proof, head)));
      await writeProofs(path, checkpoint, upgraded);
      const shown = await Promise.all(
        upgraded.map(async (proof) => {
          const said = await anchorFor(anchors, proof)
            .verify(proof, head)
            .catch((error: unknown) => {
              if (error instanceof MillraceError) return error;
              throw error;
            });
          return said instanceof MillraceError
            ? { kind: proof.kind, pending: said.message }
            : { ...said, time: new Date(said.time).toISOString() };
        }),
      );
      context.terminal.result(
        { file: path, size: head.size, anchors: shown },
        formatFields(
          shown.map((one) => [one.kind, 'pending' in one ? `not yet: ${one.pending}` : `${one.time}, ${one.place}`]),
          '  ',
        ),
      );
    }),
  );
}

/** Joins a certificate with an anchored checkpoint of its log. */
export function bundle(
  context: Context,
  certificateFile: string,
  options: { anchor: string; out?: string },
): Promise<void> {
  return withSession(context, 'owner', async ({ api, directory }) => {
    const certificate = await readInput(context.path(certificateFile));
    const { checkpoint, proofs } = await readProofs(context.path(options.anchor));
    const logKeys = logKeysOf(directory);
    const size = openCheckpoint(checkpoint, { logKey: logKeys.map(parseVerifierKey) }).size;
    const bytes = await anchorBundle(
      { logKeys, proveConsistency: (old) => consistencyProof(old, size, nodesOf(api, size)) },
      certificate,
      checkpoint,
      proofs,
    );
    const file = context.path(options.out ?? `${certificateFile}.anchored`);
    await writeDurably(file, bytes, 0o644);
    context.terminal.result({ file, bytes: bytes.length }, `Wrote ${file} (${bytes.length} bytes)`);
  });
}

/** Verifies a certificate with its anchors. Needs the foreign logs, but nothing of the cloud. */
export async function verify(
  context: Context,
  file: string,
  options: TrustOptions & { anchors: string },
): Promise<void> {
  const trust = await trustGiven(context, options);
  await withAnchors(context, options.anchors, async (anchors) => {
    const bytes = await readInput(context.path(file));
    const { anchored } = await verifyAnchored(bytes, { logKey: trust.logKey }, anchors);
    const summary = await checkCertificate(decodeAnchored(bytes).certificate, trust);
    context.terminal.result(
      { ...summary, anchored },
      [
        formatCertificate(summary),
        'Anchored:',
        ...anchored.map(({ kind, time, place }) => `  - ${kind}: ${new Date(time).toISOString()}, ${place}`),
      ].join('\n'),
    );
  });
}

/** Runs `work` with the anchors of a configuration file. The keys that pay are wiped afterwards. */
async function withAnchors<T>(context: Context, file: string, work: (anchors: readonly Anchor[]) => Promise<T>) {
  const path = context.path(file);
  const { evm, openTimestamps, symbol } = parse(configSchema, jsonOf(await readInput(path), path), file, 'E_CONFIG');
  return withKeyOf(context, evm, (evmKey) =>
    withKeyOf(context, symbol, (symbolKey) => {
      const anchors = [
        ...(evm === undefined ? [] : [evmContract(evm, evmKey)]),
        ...(openTimestamps === undefined ? [] : [timestamps(openTimestamps)]),
        ...(symbol === undefined ? [] : [symbolChain(symbol, symbolKey)]),
      ];
      if (anchors.length === 0) throw new MillraceError('E_CONFIG', `${path} names no anchor`);
      return work(anchors);
    }),
  );
}

function evmContract({ rpc, contract, sender, confirmations }: NonNullable<Config['evm']>, key?: Uint8Array): Anchor {
  return new EvmAnchor({
    rpc,
    contract,
    ...(sender && { sender }),
    ...(confirmations !== undefined && { confirmations }),
    ...(key && { key }),
  });
}

function symbolChain(settings: NonNullable<Config['symbol']>, key?: Uint8Array): Anchor {
  const { node, network, generationHashSeed, epochAdjustment, sender, deadlineMinutes, maxFee } = settings;
  return new SymbolAnchor({
    node,
    network,
    ...(generationHashSeed && { generationHashSeed }),
    ...(epochAdjustment !== undefined && { epochAdjustment }),
    ...(sender && { sender }),
    ...(deadlineMinutes !== undefined && { deadlineMs: deadlineMinutes * 60_000 }),
    ...(maxFee !== undefined && { maxFee }),
    ...(key && { key }),
  });
}

function timestamps({ calendars, quorum, headers }: NonNullable<Config['openTimestamps']>): Anchor {
  return new OpenTimestampsAnchor({
    calendars,
    ...(quorum !== undefined && { quorum }),
    ...(headers !== undefined && { headers: esploraHeaders(headers) }),
  });
}

/** Runs `work` with the key of a chain's settings, if they name its file. */
function withKeyOf<T>(
  context: Context,
  settings: { readonly keyFile?: string | undefined } | undefined,
  work: (key?: Uint8Array) => Promise<T>,
): Promise<T> {
  return settings?.keyFile === undefined ? work() : withKey(context.path(settings.keyFile), work);
}

async function withKey<T>(path: string, work: (key: Uint8Array) => Promise<T>): Promise<T> {
  const text = await readInput(path);
  const key = new Uint8Array(32);
  try {
    if (!decodeHex(text, key))
      throw new MillraceError('E_CONFIG', `${path}: expected a private key as 64 lower-case hexadecimal digits`);
    return await work(key);
  } finally {
    wipe(text);
    wipe(key);
  }
}

/** Decodes hexadecimal bytes without creating a string. White space may follow. */
function decodeHex(text: Uint8Array, into: Uint8Array): boolean {
  const end = into.length * 2;
  if (text.length < end || text.subarray(end).some((code) => code > 0x20)) return false;
  for (let i = 0; i < end; i += 2) {
    const [high, low] = [DIGITS.indexOf(text[i] ?? 0), DIGITS.indexOf(text[i + 1] ?? 0)];
    if (high < 0 || low < 0) return false;
    into[i / 2] = high * 16 + low;
  }
  return true;
}

const DIGITS = utf8('0123456789abcdef');

function anchorFor(anchors: readonly Anchor[], { kind }: AnchorProof): Anchor {
  const anchor = anchors.find((known) => known.kind === kind);
  if (anchor !== undefined) return anchor;
  throw new MillraceError('E_CONFIG', `the file of anchors does not configure ${kind}`);
}

function readCheckpoint({ directory }: Session, bytes: Uint8Array): Checkpoint {
  return openCheckpoint(bytes, { logKey: logKeysOf(directory).map(parseVerifierKey) });
}

function nodesOf(api: Session['api'], size: number) {
  return tileNodes(async (level, index) => {
    const width = Math.min(TILE_WIDTH, Math.floor(size / TILE_WIDTH ** level) - index * TILE_WIDTH);
    return width > 0 ? api.tile(tilePath({ kind: 'hashes', level, index, width })) : undefined;
  });
}

async function writeProofs(file: string, checkpoint: Uint8Array, proofs: readonly AnchorProof[]): Promise<void> {
  const anchors = proofs.map(({ kind, bytes }) => ({ kind, proof: toBase64(bytes) }));
  const content = { checkpoint: toBase64(checkpoint), anchors } satisfies z.input<typeof anchoredSchema>;
  await writeDurably(file, `${JSON.stringify(content, undefined, 2)}\n`, 0o644);
}

async function readProofs(file: string): Promise<{ checkpoint: Bytes; proofs: AnchorProof[] }> {
  const { checkpoint, anchors } = parse(anchoredSchema, jsonOf(await readInput(file), file), file);
  return {
    checkpoint: fromBase64(checkpoint),
    proofs: anchors.map(({ kind, proof }) => ({ kind, bytes: fromBase64(proof) })),
  };
}

async function readInput(path: string): Promise<Bytes> {
  try {
    return Uint8Array.from(await readFile(path));
  } catch (cause) {
    throw new MillraceError('E_INPUT', `cannot read ${path}`, { cause });
  }
}

function jsonOf(bytes: Uint8Array, path: string): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw new MillraceError('E_INPUT', `${path} is not JSON`, { cause });
  }
}
