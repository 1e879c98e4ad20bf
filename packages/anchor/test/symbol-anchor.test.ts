import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { concatBytes, fromHex, toHex, utf8 } from '@millrace/base';
import * as crypto from '@millrace/base/crypto';
import { exportCertificate, openCheckpoint, parseVerifierKey } from '@millrace/ledger';
import { sha3_256 } from '@noble/hashes/sha3.js';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  type AnchorProof,
  anchorBundle,
  SymbolAnchor,
  type SymbolAnchorOptions,
  verifyAnchored,
} from '../src/index.ts';
import {
  addressOf,
  decodeTransfer,
  formatAddress,
  messageOf,
  objectAccount,
  signTransfer,
  transferHash,
} from '../src/parts.ts';
import { ledgerWithObject } from './ledger-with-object.ts';
import { SYMBOL_TRANSFERS } from './symbol-transfers.ts';

const checkpoint = { origin: 'ledger.example/one', size: 42, root: new Uint8Array(32).fill(7) };
const rewritten = { ...checkpoint, root: new Uint8Array(32).fill(8) };
const KEY = new Uint8Array(32).fill(1);
const SENDER = toHex(crypto.ed25519Pair(KEY).publicKey);
const SEED = 'ab'.repeat(32);
const EPOCH = 1_700_000_000;
const NOW = 1_800_000_000_000;
const HEIGHT = 100n;
const HOUR_MS = 3_600_000;

describe.each(SYMBOL_TRANSFERS)('a transfer by symbol-sdk to $recipient', (sdk) => {
  it('has the same bytes, hash and address here', () => {
    const pair = crypto.ed25519Pair(sdk.secret);
    const { network, fee, deadline, generationHashSeed } = sdk;
    const recipient = addressOf(sdk.recipientKey, network);
    const fields = { network, fee, deadline, recipient, message: utf8(sdk.message) };
    const bytes = signTransfer(fields, pair, generationHashSeed);
    expect(toHex(bytes)).toBe(toHex(sdk.bytes));
    expect(toHex(transferHash(bytes, generationHashSeed))).toBe(sdk.hash);
    expect(formatAddress(recipient)).toBe(sdk.recipient);
    expect(decodeTransfer(sdk.bytes)).toMatchObject({ ...fields, signer: sdk.signer });
  });

  it('is rejected with one code, however it is damaged', () => {
    for (const at of [0, 4, 104, 108, 110, 152, 154, 155, 159]) {
      const changed = Uint8Array.from(sdk.bytes);
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(() => decodeTransfer(changed)).toThrow('holds no Symbol transfer');
    }
    for (const length of [0, 8, 159, 160, sdk.bytes.length - 1])
      expect(() => decodeTransfer(sdk.bytes.subarray(0, length))).toThrow('holds no Symbol transfer');
  });
});

type Json = Record<string, unknown>;

/** A Symbol node with one block, which contains the announced transaction and another one. `alter` makes it lie. */
class SymbolNode {
  readonly announced: Uint8Array[] = [];
  readonly #server: Server;
  readonly #sibling = new Uint8Array(32).fill(5);
  url = new URL('http://127.0.0.1');
  /** Reason for which it refuses all transactions. */
  refusal: string | undefined;
  mined = false;
  finalized: bigint = HEIGHT + 20n;
  /** Changes an honest answer. */
  alter: (path: string, answer: Json) => Json = (_, answer) => answer;
  /** Start of the paths to which it answers without end: as fast as it can, or with a pause. */
  endless: { readonly path: string; readonly pauseMs: number } | undefined;
  #stopped = false;

  constructor() {
    this.#server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const path = request.url ?? '';
        if (this.endless && path.startsWith(this.endless.path)) {
          const { pauseMs } = this.endless;
          const more = () => {
            if (this.#stopped || response.destroyed) return;
            response.write(' '.repeat(pauseMs === 0 ? 16_384 : 1));
            setTimeout(more, pauseMs);
          };
          response.writeHead(200);
          more();
          return;
        }
        const answer = this.#answer(request.method ?? '', path, Buffer.concat(chunks).toString());
        if (answer === undefined) response.writeHead(404).end('{"code":"ResourceNotFound"}');
        else response.writeHead(request.method === 'PUT' ? 202 : 200).end(JSON.stringify(this.alter(path, answer)));
      });
    });
  }

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.url = new URL(`http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`);
    return this;
  }

  close(): Promise<unknown> {
    this.#stopped = true;
    this.#server.closeAllConnections();
    return new Promise((resolve) => this.#server.close(resolve));
  }

  #answer(method: string, path: string, body: string): Json | undefined {
    if (method === 'PUT' && path === '/transactions') {
      this.announced.push(fromHex(JSON.parse(body).payload));
      return { message: 'packet 9 was pushed to the network via /transactions' };
    }
    if (path === '/network/fees/transaction') return { medianFeeMultiplier: 100, minFeeMultiplier: 10 };
    if (path === '/chain/info')
      return { height: `${HEIGHT + 30n}`, latestFinalizedBlock: { height: `${this.finalized}`, finalizationEpoch: 2 } };
    const bytes = this.announced.at(-1);
    if (bytes === undefined) return undefined;
    const hash = transferHash(bytes, fromHex(SEED));
    const known = toHex(hash).toUpperCase();
    if (path.toUpperCase() === `/TRANSACTIONSTATUS/${known}`) {
      if (this.refusal !== undefined) return { group: 'failed', code: this.refusal, hash: known };
      const where = this.mined ? { group: 'confirmed', height: `${HEIGHT}` } : { group: 'unconfirmed', height: '0' };
      return { ...where, code: 'Success', hash: known };
    }
    if (!this.mined) return undefined;
    const transfer = decodeTransfer(bytes);
    if (path.toUpperCase() === `/TRANSACTIONS/CONFIRMED/${known}`)
      return {
        id: '1',
        meta: { height: `${HEIGHT}`, hash: known, index: 1 },
        transaction: {
          size: bytes.length,
          signature: toHex(transfer.signature).toUpperCase(),
          signerPublicKey: toHex(transfer.signer).toUpperCase(),
          version: 1,
          network: transfer.network,
          type: 16_724,
          maxFee: `${transfer.fee}`,
          deadline: `${transfer.deadline}`,
          recipientAddress: toHex(transfer.recipient).toUpperCase(),
          message: toHex(transfer.message).toUpperCase(),
          mosaics: [],
        },
      };
    const root = toHex(Uint8Array.from(sha3_256(concatBytes(this.#sibling, hash)))).toUpperCase();
    const timestamp = `${NOW - EPOCH * 1_000 + 30_000}`;
    if (path === `/blocks/${HEIGHT}`)
      return { meta: {}, block: { height: `${HEIGHT}`, timestamp, transactionsHash: root } };
    if (path.toUpperCase() === `/BLOCKS/${HEIGHT}/TRANSACTIONS/${known}/MERKLE`)
      return { merklePath: [{ hash: toHex(this.#sibling).toUpperCase(), position: 'left' }] };
    return undefined;
  }
}

describe('SymbolAnchor', () => {
  let node: SymbolNode;
  beforeEach(async () => {
    node = await new SymbolNode().listen();
  });
  afterEach(() => node.close());

  const anchorOf = (options: Partial<SymbolAnchorOptions>) =>
    new SymbolAnchor({
      node: node.url,
      network: 'testnet',
      generationHashSeed: SEED,
      epochAdjustment: EPOCH,
      now: () => NOW,
      ...options,
    });
  const payer = (options: Partial<SymbolAnchorOptions> = {}) => anchorOf({ key: KEY, ...options });
  const reader = (options: Partial<SymbolAnchorOptions> = {}) => anchorOf({ sender: SENDER, ...options });
  /** A checkpoint in a block. */
  const anchored = async () => {
    const proof = await payer().submit(checkpoint);
    node.mined = true;
    return proof;
  };
  /** Changes the answers to paths that start so. */
  const answer = (start: string, change: (honest: Json) => Json) => {
    node.alter = (path, honest) => (path.startsWith(start) ? change(honest) : honest);
  };
  const part = (json: Json, name: string, change: Json): Json => ({
    ...json,
    [name]: { ...(json[name] as Json), ...change },
  });

  it('anchors a checkpoint, and reports time and place when its block is final', async () => {
    const proof = await payer().submit(checkpoint);
    await expect(reader().verify(proof, checkpoint)).rejects.toThrow('is in no block yet');
    node.mined = true;
    node.finalized = HEIGHT - 1n;
    await expect(reader().verify(proof, checkpoint)).rejects.toThrow('of block 100, and blocks to 99 are final');
    node.finalized = HEIGHT;
    expect(await reader().upgrade(proof, checkpoint)).toEqual(proof);
    const { kind, time, place } = await reader().verify(proof, checkpoint);
    expect({ kind, time }).toEqual({ kind: 'symbol', time: NOW + 30_000 });
    const own = formatAddress(addressOf(fromHex(SENDER), 0x98));
    expect(place).toMatch(new RegExp(`^Symbol testnet, block 100, transaction [0-9a-f]{64}, to ${own}$`));
    expect(node.announced).toHaveLength(1);
  });

  it('sends nothing but the digest, for the fee that nodes ask for, with the configured deadline', async () => {
    await payer({ deadlineMs: HOUR_MS }).submit(checkpoint);
    const [bytes = new Uint8Array()] = node.announced;
    expect(decodeTransfer(bytes)).toMatchObject({
      fee: BigInt(bytes.length * 100),
      deadline: BigInt(NOW - EPOCH * 1_000 + HOUR_MS),
      message: messageOf(checkpoint),
    });
  });

  it('announces nothing that costs more than the maximum fee', async () => {
    await expect(payer({ maxFee: 1_000 }).submit(checkpoint)).rejects.toMatchObject({
      code: 'E_ANCHOR',
      message: 'the Symbol node asks for a fee of 24300, and the maximum is 1000',
    });
    expect(node.announced).toEqual([]);
  });

  it('has one account for each object, which only the payer’s key can derive', async () => {
    const [one, two] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
    const recipients = new Set<string>();
    for (const account of [one, two, one]) {
      await payer().submit(checkpoint, account);
      recipients.add(toHex(decodeTransfer(node.announced.at(-1) ?? new Uint8Array()).recipient));
    }
    const addresses = [one, two].map((account) => toHex(addressOf(objectAccount(KEY, account), 0x98)));
    expect([...recipients]).toEqual(addresses);
    expect(objectAccount(new Uint8Array(32).fill(9), one)).not.toEqual(objectAccount(KEY, one));
    await expect(payer().submit(checkpoint, new Uint8Array(31))).rejects.toMatchObject({ code: 'E_INPUT' });
    node.mined = true;
    const proof = await payer().submit(checkpoint, two);
    const place = expect.stringContaining(`to ${formatAddress(fromHex(addresses[1] ?? ''))}`);
    expect(await reader().verify(proof, checkpoint)).toMatchObject({ place });
  });

  it('signs with the key as it was when it was called', async () => {
    const key = Uint8Array.from(KEY);
    const submitted = payer({ key }).submit(checkpoint, new Uint8Array(32).fill(1));
    key.fill(0);
    await submitted;
    const { signer, recipient } = decodeTransfer(node.announced[0] ?? new Uint8Array());
    expect(toHex(signer)).toBe(SENDER);
    expect(recipient).toEqual(addressOf(objectAccount(KEY, new Uint8Array(32).fill(1)), 0x98));
  });

  it('reports why the chain refused a transaction, at once and later', async () => {
    const proof = await payer().submit(checkpoint);
    node.refusal = 'Failure_Core_Insufficient_Balance';
    const reason = { code: 'E_ANCHOR', message: expect.stringContaining('Failure_Core_Insufficient_Balance') };
    await expect(payer().submit(checkpoint)).rejects.toMatchObject(reason);
    await expect(reader().upgrade(proof, checkpoint)).rejects.toMatchObject(reason);
    await expect(reader().verify(proof, checkpoint)).rejects.toMatchObject(reason);
  });

  it('does not pass on text of a node that is no reason', async () => {
    node.refusal = '\u001b[2J you have won';
    await expect(payer().submit(checkpoint)).rejects.toMatchObject({
      code: 'E_ANCHOR',
      message: expect.not.stringContaining('won'),
    });
  });

  it('announces a transaction again that the node has lost, until it has expired', async () => {
    const proof = await payer().submit(checkpoint);
    const [first] = node.announced.splice(0);
    await expect(reader({ now: () => NOW + 3 * HOUR_MS }).upgrade(proof, checkpoint)).rejects.toThrow('expired');
    expect(await reader().upgrade(proof, checkpoint)).toEqual(proof);
    expect(node.announced).toEqual([first]);
  });

  it('rejects proofs of another checkpoint, sender, network or signature', async () => {
    const proof = await anchored();
    await expect(reader().verify(proof, rewritten)).rejects.toThrow('is of another checkpoint');
    await expect(reader().upgrade(proof, rewritten)).rejects.toThrow('is of another checkpoint');
    const stranger = toHex(crypto.ed25519Pair(new Uint8Array(32).fill(2)).publicKey);
    await expect(reader({ sender: stranger }).verify(proof, checkpoint)).rejects.toThrow('is of another sender');
    for (const other of [{ network: 'mainnet' }, { generationHashSeed: 'cd'.repeat(32) }] as const)
      await expect(reader(other).verify(proof, checkpoint)).rejects.toThrow('is of another Symbol network');
    const text = new TextDecoder().decode(proof.bytes);
    const claimed = (from: string, to: string): AnchorProof => ({
      kind: 'symbol',
      bytes: utf8(text.replace(from, to)),
    });
    // A checkpoint that the sender never signed, put in place of the one in a confirmed transaction.
    const forged = claimed(toHex(messageOf(checkpoint)), toHex(messageOf(rewritten)));
    await expect(reader().verify(forged, rewritten)).rejects.toThrow('has no valid signature of the sender');
    // A transaction of one network, claimed for another.
    const moved = claimed(SEED, 'cd'.repeat(32));
    const there = reader({ generationHashSeed: 'cd'.repeat(32) });
    await expect(there.verify(moved, checkpoint)).rejects.toThrow('has no valid signature of the sender');
  });

  it('rejects damaged proofs with one code', async () => {
    const proof = await anchored();
    const anchor = reader();
    const change = fc.record({ at: fc.nat(proof.bytes.length - 1), to: fc.nat(255) });
    await fc.assert(
      fc.asyncProperty(change, async ({ at, to }) => {
        fc.pre(proof.bytes[at] !== to);
        const bytes = Uint8Array.from(proof.bytes);
        bytes[at] = to;
        await expect(anchor.verify({ kind: 'symbol', bytes }, checkpoint)).rejects.toMatchObject({ code: 'E_ANCHOR' });
      }),
      { numRuns: 300 },
    );
    for (const bytes of [utf8('{}'), Uint8Array.of(0xff), proof.bytes.subarray(0, 90)])
      await expect(anchor.verify({ kind: 'symbol', bytes }, checkpoint)).rejects.toMatchObject({ code: 'E_ANCHOR' });
    await expect(anchor.verify({ ...proof, kind: 'evm' }, checkpoint)).rejects.toThrow('is of kind evm');
  });

  it('rejects the hash of another transaction', async () => {
    const proof = await anchored();
    answer('/transactionStatus', (honest) => ({ ...honest, hash: 'EE'.repeat(32) }));
    await expect(reader().verify(proof, checkpoint)).rejects.toThrow('the status of another transaction');
    await expect(payer().submit(checkpoint)).rejects.toThrow('the status of another transaction');
    answer('/transactions/confirmed', (honest) => part(honest, 'meta', { hash: 'EE'.repeat(32) }));
    await expect(reader().verify(proof, checkpoint)).rejects.toThrow('another transaction than the proof’s');
  });

  it.each([
    { message: toHex(messageOf(rewritten)) },
    { message: undefined },
    { signature: '00'.repeat(64) },
    { signerPublicKey: '11'.repeat(32) },
    { recipientAddress: '98'.repeat(24) },
    { maxFee: '1' },
    { deadline: '1' },
    { network: 0x68 },
  ])('rejects a confirmed transaction with another field: %o', async (change) => {
    const proof = await anchored();
    answer('/transactions/confirmed', (honest) => part(honest, 'transaction', change));
    await expect(reader().verify(proof, checkpoint)).rejects.toThrow('another transaction than the proof’s');
  });

  it('rejects heights that do not agree', async () => {
    const proof = await anchored();
    answer('/transactions/confirmed', (honest) => part(honest, 'meta', { height: '7' }));
    await expect(reader().verify(proof, checkpoint)).rejects.toThrow('two heights of one transaction');
    const moveTo = (height: string) => {
      node.alter = (path, honest) => {
        if (path.startsWith('/transactionStatus')) return { ...honest, height };
        return path.startsWith('/transactions/confirmed') ? part(honest, 'meta', { height }) : honest;
      };
    };
    for (const height of ['0', '131', '18446744073709551615']) {
      moveTo(height);
      await expect(reader().verify(proof, checkpoint)).rejects.toThrow('a height that its chain does not have');
    }
    moveTo('99'); // a block of the chain that has other transactions
    await expect(reader().verify(proof, checkpoint)).rejects.toMatchObject({ code: 'E_ANCHOR' });
    answer('/chain/info', (honest) => ({ ...honest, latestFinalizedBlock: { height: '1000' } }));
    await expect(reader().verify(proof, checkpoint)).rejects.toThrow('a height that its chain does not have');
  });

  it('rejects a block without the transaction, of another height, or of an impossible time', async () => {
    const proof = await anchored();
    const sentAt = NOW - EPOCH * 1_000;
    for (const [change, message] of [
      [{ transactionsHash: 'EE'.repeat(32) }, 'a block without the transaction'],
      [{ height: '99' }, 'another block than asked for'],
      [{ timestamp: `${sentAt + 2 * HOUR_MS + 1}` }, 'a block at whose time the transaction was not valid'],
      [{ timestamp: `${sentAt - 4 * HOUR_MS - 1}` }, 'a block at whose time the transaction was not valid'],
    ] as const) {
      answer(`/blocks/${HEIGHT}`, (honest) => ('block' in honest ? part(honest, 'block', change) : honest));
      await expect(reader().verify(proof, checkpoint)).rejects.toThrow(message);
    }
    answer(`/blocks/${HEIGHT}/transactions`, () => ({ merklePath: [] }));
    await expect(reader().verify(proof, checkpoint)).rejects.toThrow('a block without the transaction');
    const long = new Array(33).fill({ hash: '00'.repeat(32), position: 'left' });
    answer(`/blocks/${HEIGHT}/transactions`, () => ({ merklePath: long }));
    await expect(reader().verify(proof, checkpoint)).rejects.toMatchObject({ code: 'E_ANCHOR' });
  });

  it.each(['/network/fees', '/transactionStatus'])('ends answers without end to %s when it submits', async (path) => {
    node.endless = { path, pauseMs: 0 };
    await expect(payer().submit(checkpoint)).rejects.toMatchObject({ code: 'E_TOO_LARGE' });
    node.endless = { path, pauseMs: 20 };
    await expect(payer({ timeoutMs: 200 }).submit(checkpoint)).rejects.toMatchObject({ code: 'E_TIMEOUT' });
  });

  it('ends answers without end when it announces and verifies', async () => {
    const proof = await anchored();
    for (const path of ['/transactions/confirmed', '/chain/info', `/blocks/${HEIGHT}`]) {
      node.endless = { path, pauseMs: 0 };
      await expect(reader().verify(proof, checkpoint)).rejects.toMatchObject({ code: 'E_TOO_LARGE' });
    }
    node.endless = { path: '/transactions', pauseMs: 20 };
    await expect(payer({ timeoutMs: 200 }).submit(checkpoint)).rejects.toMatchObject({ code: 'E_TIMEOUT' });
  });

  it('gives up on a node that takes a transaction and forgets it', async () => {
    node.alter = (path, honest) => {
      if (path === '/transactions') node.announced.length = 0;
      return honest;
    };
    await expect(payer({ timeoutMs: 300 }).submit(checkpoint)).rejects.toMatchObject({ code: 'E_TIMEOUT' });
  });

  it('needs a key to submit, and refuses settings that contradict each other', async () => {
    await expect(reader().submit(checkpoint)).rejects.toMatchObject({ code: 'E_CONFIG' });
    for (const options of [
      {},
      { key: KEY, sender: '22'.repeat(32) },
      { sender: 'short' },
      { sender: SENDER, generationHashSeed: 'short' },
      { sender: SENDER, deadlineMs: 7 * HOUR_MS },
    ])
      expect(() => anchorOf(options)).toThrow(expect.objectContaining({ code: 'E_CONFIG' }));
  });

  it('verifies a certificate with the anchor of a later checkpoint', async () => {
    const ledger = await ledgerWithObject();
    const certificate = await exportCertificate(ledger, 'object-1');
    await ledger.append({ account: 'machine-2', type: 'machine', actor: 'control', body: {}, eventId: 'machine-2' });
    const later = ledger.checkpoint();
    const head = openCheckpoint(later, { logKey: parseVerifierKey(ledger.logKey) });
    const proof = await payer().submit(head);
    node.mined = true;
    const trust = { logKey: ledger.logKey };
    const bundle = await anchorBundle(ledger, certificate, later, [proof]);
    expect(await verifyAnchored(bundle, trust, [reader()])).toMatchObject({
      object: 'object-1',
      state: 'completed',
      anchored: [{ kind: 'symbol', time: NOW + 30_000 }],
    });
    const other = await anchorBundle(ledger, certificate, later, [await payer().submit(checkpoint)]);
    await expect(verifyAnchored(other, trust, [reader()])).rejects.toThrow('is of another checkpoint');
    await ledger.close();
  });
});
