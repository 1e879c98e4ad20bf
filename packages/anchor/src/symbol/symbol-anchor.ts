import {
  type Bytes,
  concatBytes,
  copyBytes,
  equalBytes,
  fromHex,
  hexOf,
  hkdf,
  MillraceError,
  parse,
  retry,
  toHex,
  utf8,
  wipe,
} from '@millrace/base';
import * as crypto from '@millrace/base/crypto';
import { z } from 'zod';
import { type Anchor, type AnchorProof, type AnchorStatement, checkpointDigest, type Head } from '../anchor.ts';
import { jsonOf } from '../json.ts';
import { type SymbolConfirmed, type SymbolPath, SymbolRest, type SymbolStatus } from './rest.ts';
import {
  addressOf,
  decodeTransfer,
  encodeTransfer,
  formatAddress,
  isSigned,
  MAX_TRANSFER,
  type SignedTransfer,
  sha3,
  signTransfer,
  transferHash,
  transferLength,
} from './transfer.ts';

export interface SymbolAnchorOptions {
  /** REST address of a node. */
  readonly node: URL;
  readonly network: keyof typeof NETWORKS;
  /** 64 hexadecimal digits. Default: that of the public network. */
  readonly generationHashSeed?: string;
  /** Seconds from 1970 to the network's first block. Default: that of the public network. */
  readonly epochAdjustment?: number;
  /** The only accepted signer: public key, 64 hexadecimal digits. Default: derived from `key`. */
  readonly sender?: string;
  /** Ed25519 private key that pays, 32 bytes. Required to submit. The caller wipes it. */
  readonly key?: Uint8Array;
  /** Time within which a block has to take the transaction, ms. Default 2 hours, at most 6. */
  readonly deadlineMs?: number;
  /** Maximum fee of a transaction, in millionths of an XYM. Default 1,000,000. */
  readonly maxFee?: number;
  /** Timeout for one answer, and for the node's check of the transaction, ms. Default 30,000. */
  readonly timeoutMs?: number;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
}

// The public networks, as in symbol-sdk 3.3.2.
const NETWORKS = {
  mainnet: {
    byte: 0x68,
    seed: '57f7da205008026c776cb6aed843393f04cd458e0aa2d9f1d5f31a402072b2d6',
    epoch: 1_615_853_185,
  },
  testnet: {
    byte: 0x98,
    seed: '49d6e1ce276a85b70eafe52349aacca389302e7a9754bcf1221e79494fc665a4',
    epoch: 1_667_250_467,
  },
} as const;

const HOUR_MS = 3_600_000;
/** Longest life of a transaction (maxTransactionLifetime), ms: a block that takes it is not older. */
const MAX_DEADLINE_MS = 6 * HOUR_MS;
const DEFAULT_TIMEOUT_MS = 30_000;
const DEFAULT_MAX_FEE = 1_000_000;
/** Largest time of a Date, ms. */
const MAX_TIME = 8_640_000_000_000_000n;

const proofSchema = z.strictObject({
  generationHashSeed: hexOf(32),
  transaction: z
    .string()
    .max(2 * MAX_TRANSFER)
    .regex(/^([0-9a-f]{2})+$/),
});

interface Anchored {
  readonly bytes: Bytes;
  readonly hash: string;
  readonly transfer: SignedTransfer;
}

/**
 * Transfers of nothing on a Symbol chain, with the checkpoint's digest as message. A transfer goes to the signer
 * itself, or to an account of one object. Signed transactions are in the proof; a node is asked only whether, where and
 * when the chain has them. It is trusted in that: run your own, or ask several.
 */
export class SymbolAnchor implements Anchor {
  readonly kind = 'symbol';
  readonly #options: SymbolAnchorOptions;
  readonly #rest: SymbolRest;
  readonly #seed: Bytes;
  readonly #epochMs: number;
  readonly #byte: number;
  readonly #sender: Bytes;
  readonly #deadlineMs: number;

  /** @throws {MillraceError} E_CONFIG */
  constructor(options: SymbolAnchorOptions) {
    const { node, network, generationHashSeed, epochAdjustment, deadlineMs = 2 * HOUR_MS } = options;
    const known = NETWORKS[network];
    this.#options = options;
    this.#rest = new SymbolRest(node, options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    this.#seed = fromHex(parse(hexOf(32), generationHashSeed ?? known.seed, 'generation hash seed', 'E_CONFIG'));
    this.#epochMs = (epochAdjustment ?? known.epoch) * 1_000;
    this.#byte = known.byte;
    this.#sender = senderOf(options);
    if (!(deadlineMs > 0 && deadlineMs <= MAX_DEADLINE_MS))
      throw new MillraceError('E_CONFIG', 'the deadline of a Symbol transaction is at most 6 hours');
    this.#deadlineMs = deadlineMs;
  }

  /** Returns when the node has checked the transaction. It enters a block within a minute or so. */
  async submit(checkpoint: Head, account?: Uint8Array): Promise<AnchorProof> {
    const { key, maxFee = DEFAULT_MAX_FEE, now = Date.now } = this.#options;
    if (key === undefined) throw new MillraceError('E_CONFIG', 'no key to pay the Symbol chain with is configured');
    // The caller wipes the key when another anchor fails, so nothing uses it after the first wait.
    const pair = crypto.ed25519Pair(key);
    const recipient = account === undefined ? this.#sender : objectAccount(key, account);
    const message = messageOf(checkpoint);
    const { medianFeeMultiplier, minFeeMultiplier } = await this.#rest.fees();
    const fee = transferLength(message.length) * Math.max(medianFeeMultiplier, minFeeMultiplier);
    if (fee > maxFee)
      throw new MillraceError('E_ANCHOR', `the Symbol node asks for a fee of ${fee}, and the maximum is ${maxFee}`);
    const bytes = signTransfer(
      {
        network: this.#byte,
        fee: BigInt(fee),
        deadline: BigInt(Math.floor(now() - this.#epochMs + this.#deadlineMs)),
        recipient: addressOf(recipient, this.#byte),
        message,
      },
      pair,
      this.#seed,
    );
    await this.#announce(bytes);
    const proof = { generationHashSeed: toHex(this.#seed), transaction: toHex(bytes) };
    return { kind: this.kind, bytes: utf8(JSON.stringify(proof)) };
  }

  /** Announces the transaction again if the node has lost it. @throws {MillraceError} E_ANCHOR if it failed or expired */
  async upgrade(proof: AnchorProof, checkpoint: Head): Promise<AnchorProof> {
    const { bytes, hash, transfer } = this.#read(proof, checkpoint);
    const status = await this.#status(hash);
    if (status?.group === 'failed') throw failed(status);
    if (status !== undefined) return proof;
    if (this.#timeOf(transfer.deadline) < (this.#options.now ?? Date.now)())
      throw refused('names a transaction that expired before a block took it: anchor a newer checkpoint');
    await this.#announce(bytes);
    return proof;
  }

  async verify(proof: AnchorProof, checkpoint: Head): Promise<AnchorStatement> {
    const { bytes, hash, transfer } = this.#read(proof, checkpoint);
    const status = await this.#status(hash);
    if (status?.group === 'failed') throw failed(status);
    if (status?.group !== 'confirmed') throw refused('names a transaction that is in no block yet');
    const confirmed = await this.#rest.confirmed(hash);
    const { height } = confirmed.meta;
    if (confirmed.meta.hash !== hash || !equalBytes(encodeTransfer(transferOf(confirmed)), bytes))
      throw lie('another transaction than the proof’s');
    if (status.height !== height) throw lie('two heights of one transaction');
    const chain = await this.#rest.chain();
    const final = chain.latestFinalizedBlock.height;
    if (height < 1n || height > chain.height || final > chain.height)
      throw lie('a height that its chain does not have');
    if (height > final) throw refused(`names a transaction of block ${height}, and blocks to ${final} are final`);
    const block = await this.#rest.block(height);
    if (block.height !== height) throw lie('another block than asked for');
    const path = await this.#rest.path(height, hash);
    if (toHex(rootOf(fromHex(hash), path)) !== block.transactionsHash) throw lie('a block without the transaction');
    // The signer chose the deadline, so a node can move the time only within the life of the transaction.
    if (block.timestamp > transfer.deadline || block.timestamp + BigInt(MAX_DEADLINE_MS) < transfer.deadline)
      throw lie('a block at whose time the transaction was not valid');
    const to = formatAddress(transfer.recipient);
    const place = `Symbol ${this.#options.network}, block ${height}, transaction ${hash}, to ${to}`;
    return { kind: this.kind, time: this.#timeOf(block.timestamp), place };
  }

  /** Checks everything about a proof that needs no node. */
  #read(proof: AnchorProof, checkpoint: Head): Anchored {
    if (proof.kind !== this.kind) throw refused(`is of kind ${proof.kind}`);
    const { generationHashSeed, transaction } = parse(
      proofSchema,
      jsonOf(proof.bytes, 'the anchor’s proof'),
      'proof of the anchor',
      'E_ANCHOR',
    );
    if (generationHashSeed !== toHex(this.#seed)) throw refused('is of another Symbol network');
    const bytes = fromHex(transaction);
    const transfer = decodeTransfer(bytes);
    if (transfer.network !== this.#byte) throw refused('is of another Symbol network');
    if (!equalBytes(transfer.signer, this.#sender)) throw refused('is of another sender');
    if (!isSigned(bytes, transfer, this.#seed)) throw refused('has no valid signature of the sender');
    if (!equalBytes(transfer.message, messageOf(checkpoint))) throw refused('is of another checkpoint');
    if (transfer.deadline + BigInt(this.#epochMs) > MAX_TIME) throw refused('has a deadline that is no time');
    return { bytes, hash: toHex(transferHash(bytes, this.#seed)), transfer };
  }

  /** Announces a transaction and waits until the node has checked it. */
  async #announce(bytes: Uint8Array): Promise<void> {
    const { timeoutMs = DEFAULT_TIMEOUT_MS } = this.#options;
    const hash = toHex(transferHash(bytes, this.#seed));
    await this.#rest.announce(toHex(bytes));
    const status = await retry(
      async () => {
        const current = await this.#status(hash);
        if (current === undefined)
          throw new MillraceError('E_TIMEOUT', `the Symbol node has not checked transaction ${hash} yet`);
        return current;
      },
      { forMs: timeoutMs, mostMs: 2_000 },
    );
    if (status.group === 'failed') throw failed(status);
  }

  async #status(hash: string): Promise<SymbolStatus | undefined> {
    const status = await this.#rest.status(hash);
    if (status !== undefined && status.hash !== hash) throw lie('the status of another transaction');
    return status;
  }

  #timeOf(timestamp: bigint): number {
    return this.#epochMs + Number(timestamp);
  }
}

/**
 * Public key of the account of one object: its Ed25519 secret is HKDF-SHA-256 of the key that pays, with the account as
 * info. Only the holder of that key can sign for it, or find it without a proof. It needs no funds to receive.
 */
export function objectAccount(key: Uint8Array, account: Uint8Array): Bytes {
  if (account.length !== 32) throw new MillraceError('E_INPUT', 'an account on a chain has 32 bytes');
  const secret = hkdf([key], new Uint8Array(), concatBytes(utf8('millrace/symbol/object-account/1'), account));
  try {
    return crypto.ed25519Pair(secret).publicKey;
  } finally {
    wipe(secret);
  }
}

/** A plain message (type 0), as explorers show it: a name and the checkpoint's digest. */
export function messageOf(checkpoint: Head): Bytes {
  return concatBytes(Uint8Array.of(0), utf8(`millrace-anchor/1 ${toHex(checkpointDigest(checkpoint))}`));
}

/** Bytes' fields as a node reports them: the caller compares the encoding. */
function transferOf({ transaction }: SymbolConfirmed): SignedTransfer {
  return {
    signature: fromHex(transaction.signature),
    signer: fromHex(transaction.signerPublicKey),
    network: transaction.network,
    fee: transaction.maxFee,
    deadline: transaction.deadline,
    recipient: fromHex(transaction.recipientAddress),
    message: fromHex(transaction.message ?? ''),
  };
}

/** Root of the transactions of a block, from one of them. */
function rootOf(leaf: Bytes, path: SymbolPath): Bytes {
  return path.reduce((node, { hash, position }) => {
    const sibling = fromHex(hash);
    return position === 'left' ? sha3(sibling, node) : sha3(node, sibling);
  }, leaf);
}

function senderOf({ key, sender }: SymbolAnchorOptions): Bytes {
  const own = key === undefined ? undefined : copyBytes(crypto.ed25519Pair(key).publicKey);
  const wanted =
    sender === undefined ? undefined : fromHex(parse(hexOf(32), sender, 'public key of the sender', 'E_CONFIG'));
  if (own !== undefined && wanted !== undefined && !equalBytes(own, wanted))
    throw new MillraceError('E_CONFIG', 'the key is not that of the sender');
  const known = own ?? wanted;
  if (known === undefined) throw new MillraceError('E_CONFIG', 'neither a key nor a sender is configured');
  return known;
}

function failed({ code = 'without a reason' }: SymbolStatus): MillraceError {
  return new MillraceError('E_ANCHOR', `the Symbol chain refused the transaction: ${code}`);
}

function lie(what: string): MillraceError {
  return new MillraceError('E_ANCHOR', `the Symbol node answered with ${what}`);
}

function refused(what: string): MillraceError {
  return new MillraceError('E_ANCHOR', `the anchor’s proof ${what}`);
}
