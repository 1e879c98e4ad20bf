import { type Bytes, equalBytes, fromHex, MillraceError, parse, retry, toHex } from '@millrace/base';
import { keccak_256 } from '@noble/hashes/sha3.js';
import { addr, Transaction } from 'micro-eth-signer';
import { z } from 'zod';
import { type Anchor, type AnchorProof, type AnchorStatement, checkpointDigest, type Head } from '../anchor.ts';
import { CONTRACT_BYTECODE } from './contract.ts';
import { data, EvmRpc, quantity, toQuantity } from './rpc.ts';

export interface EvmAnchorOptions {
  readonly rpc: URL;
  /** 20 bytes, as `0x…`. */
  readonly contract: string;
  /** The only accepted sender: the address of the log's key on this chain. Default: derived from `key`. */
  readonly sender?: string;
  /** secp256k1 private key that pays, 32 bytes. Required to submit. The caller wipes it. */
  readonly key?: Uint8Array;
  /** Number of blocks on top before a head counts. Default 12. */
  readonly confirmations?: number;
  /** Timeout for one answer, and for the transaction's block, ms. */
  readonly timeoutMs?: number;
}

const DEFAULT_CONFIRMATIONS = 12;
const DEFAULT_TIMEOUT_MS = 30_000;
const WHOLE_LOG = new Uint8Array(32);

const hash = data.refine((text) => text.length === 66, { error: 'expected 32 bytes' });
const address = data.refine((text) => text.length === 42, { error: 'expected 20 bytes' });

const proofSchema = z.strictObject({
  chain: quantity,
  contract: address,
  account: hash,
  transaction: hash,
});

const blockSchema = z.object({ number: quantity, timestamp: quantity, baseFeePerGas: quantity.optional() });

const receiptSchema = z.object({
  status: quantity,
  blockNumber: quantity,
  blockHash: hash,
  gasUsed: quantity,
  contractAddress: address.nullish(),
  logs: z.array(z.object({ address, topics: z.array(hash), data })),
});
type Receipt = z.output<typeof receiptSchema>;

/**
 * A contract on an EVM chain that keeps the newest head of each sender and account and rejects older ones
 * (contract/MillraceAnchor.sol). The node behind `rpc` is trusted: run your own, or ask several.
 */
export class EvmAnchor implements Anchor {
  readonly kind = 'evm';
  readonly #options: EvmAnchorOptions;
  readonly #rpc: EvmRpc;
  readonly #sender: string;

  /** @throws {MillraceError} E_CONFIG */
  constructor(options: EvmAnchorOptions) {
    this.#options = options;
    this.#rpc = new EvmRpc(options.rpc, options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    this.#sender = senderOf(options);
    parse(address, options.contract, 'address of the contract', 'E_CONFIG');
  }

  async submit(checkpoint: Head, account: Uint8Array = WHOLE_LOG): Promise<AnchorProof> {
    const { contract } = this.#options;
    const digest = checkpointDigest(checkpoint);
    const { chain, transaction } = await this.#send(contract, encodeAnchorCall(account, checkpoint.size, digest));
    const proof = { chain: toQuantity(chain), contract: lower(contract), account: hex(account), transaction };
    return { kind: this.kind, bytes: Uint8Array.from(Buffer.from(JSON.stringify(proof))) };
  }

  async upgrade(proof: AnchorProof): Promise<AnchorProof> {
    return proof;
  }

  async verify(proof: AnchorProof, checkpoint: Head): Promise<AnchorStatement> {
    const { contract, confirmations = DEFAULT_CONFIRMATIONS } = this.#options;
    const { chain, account, transaction, contract: named } = this.#read(proof);
    const actual = await this.#rpc.call('eth_chainId', [], quantity);
    if (actual !== chain) throw refused(`is of chain ${chain}, not of ${actual}`);
    if (lower(named) !== lower(contract)) throw refused('is of another contract');
    const receipt = await this.#rpc.call('eth_getTransactionReceipt', [transaction], receiptSchema.nullable());
    if (receipt === null) throw refused('names a transaction that is in no block');
    if (receipt.status !== 1n) throw refused('names a transaction that failed');
    const expected = encodeAnchored(this.#sender, account, checkpoint.size, checkpointDigest(checkpoint));
    if (!receipt.logs.some((log) => isEvent(log, contract, expected))) throw refused('is of another checkpoint');
    const block = await this.#rpc.call('eth_getBlockByHash', [receipt.blockHash, false], blockSchema.nullable());
    if (block === null) throw refused('names a block that the chain does not have any more');
    const newest = await this.#rpc.call('eth_blockNumber', [], quantity);
    if (newest - receipt.blockNumber < BigInt(confirmations))
      throw refused(`has ${newest - receipt.blockNumber} of ${confirmations} confirmations`);
    const place = `chain ${chain}, block ${receipt.blockNumber}, transaction ${transaction}`;
    return { kind: this.kind, time: Number(block.timestamp) * 1_000, place };
  }

  #read(proof: AnchorProof): z.output<typeof proofSchema> {
    if (proof.kind !== this.kind) throw refused(`is of kind ${proof.kind}`);
    let json: unknown;
    try {
      json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(proof.bytes));
    } catch (cause) {
      throw new MillraceError('E_ANCHOR', 'the anchor’s proof is not JSON', { cause });
    }
    return parse(proofSchema, json, 'proof of the anchor', 'E_ANCHOR');
  }

  async #send(to: string, input: string) {
    const { key, timeoutMs = DEFAULT_TIMEOUT_MS } = this.#options;
    if (key === undefined) throw new MillraceError('E_CONFIG', 'no key to pay the chain with is configured');
    const sent = await sendTransaction(this.#rpc, { key, to, input, timeoutMs });
    if (sent.receipt.status !== 1n) throw new MillraceError('E_ANCHOR', 'the contract refused the head');
    return sent;
  }
}

/** Deploys the contract on a chain, once for all logs. @returns its address @throws {MillraceError} as `submit` */
export async function deployAnchorContract(
  rpcUrl: URL,
  key: Uint8Array,
  timeoutMs = DEFAULT_TIMEOUT_MS,
): Promise<string> {
  const rpc = new EvmRpc(rpcUrl, timeoutMs);
  const { receipt } = await sendTransaction(rpc, { key, input: CONTRACT_BYTECODE, timeoutMs });
  if (receipt.status !== 1n || !receipt.contractAddress)
    throw new MillraceError('E_ANCHOR', 'the chain refused the contract');
  return receipt.contractAddress;
}

interface Outgoing {
  readonly key: Uint8Array;
  /** If undefined: creates a contract. */
  readonly to?: string;
  readonly input: string;
  readonly timeoutMs: number;
}

/** Signs and sends a transaction, and waits for its block. */
async function sendTransaction(rpc: EvmRpc, { key, to, input, timeoutMs }: Outgoing) {
  const from = lower(addr.fromPrivateKey(key));
  const chain = await rpc.call('eth_chainId', [], quantity);
  const block = await rpc.call('eth_getBlockByNumber', ['latest', false], blockSchema);
  const priority = await rpc.call('eth_maxPriorityFeePerGas', [], quantity);
  const call = { from, input, ...(to !== undefined && { to }) };
  // If the contract rejects the head, this call fails and nothing is paid.
  const gas = await rpc.call('eth_estimateGas', [call], quantity);
  const nonce = await rpc.call('eth_getTransactionCount', [from, 'pending'], quantity);
  const signed = Transaction.prepare({
    type: 'eip1559',
    chainId: chain,
    nonce,
    // The base fee may double within six blocks.
    maxFeePerGas: 2n * (block.baseFeePerGas ?? 0n) + priority,
    maxPriorityFeePerGas: priority,
    gasLimit: (gas * 12n) / 10n,
    to: to ?? '0x',
    value: 0n,
    data: input,
  }).signBy(key);
  const transaction = hex(Uint8Array.from(keccak_256(fromHex(signed.toHex().slice(2)))));
  try {
    await rpc.call('eth_sendRawTransaction', [signed.toHex()], hash);
  } catch (error) {
    // If the answer to an earlier attempt was lost, the chain already knows the transaction.
    const known = await rpc.call('eth_getTransactionByHash', [transaction], z.unknown());
    if (known === null) throw error;
  }
  const receipt = await waitForReceipt(rpc, transaction, timeoutMs);
  return { chain, transaction, receipt };
}

function waitForReceipt(rpc: EvmRpc, transaction: string, timeoutMs: number): Promise<Receipt> {
  return retry(
    async () => {
      const receipt = await rpc.call('eth_getTransactionReceipt', [transaction], receiptSchema.nullable());
      if (receipt === null)
        throw new MillraceError('E_TIMEOUT', `transaction ${transaction} is in no block yet`, {
          data: { transaction },
        });
      return receipt;
    },
    { forMs: timeoutMs, mostMs: 2_000 },
  );
}

const selector = (signature: string): Bytes => keccak(signature).slice(0, 4);
const keccak = (text: string): Bytes => Uint8Array.from(keccak_256(new TextEncoder().encode(text)));
const word = (value: bigint): string => value.toString(16).padStart(64, '0');

/** Arguments of fixed size: the ABI encodes each in a word of 32 bytes. */
function encodeAnchorCall(account: Uint8Array, size: number, digest: Uint8Array): string {
  if (account.length !== 32) throw new MillraceError('E_INPUT', 'an account on a chain has 32 bytes');
  const name = toHex(selector('anchor(bytes32,uint64,bytes32)'));
  return `0x${name}${toHex(account)}${word(BigInt(size))}${toHex(digest)}`;
}

interface Event {
  readonly topics: readonly string[];
  readonly data: string;
}

function encodeAnchored(sender: string, account: string, size: number, digest: Uint8Array): Event {
  const name = hex(keccak('Anchored(address,bytes32,uint64,bytes32)'));
  const topics = [name, `0x${word(BigInt(sender))}`, lower(account)];
  return { topics, data: `0x${word(BigInt(size))}${toHex(digest)}` };
}

function isEvent(log: Event & { readonly address: string }, contract: string, expected: Event): boolean {
  return (
    lower(log.address) === lower(contract) &&
    lower(log.data) === expected.data &&
    log.topics.length === expected.topics.length &&
    log.topics.every((topic, i) => lower(topic) === expected.topics[i])
  );
}

function senderOf({ key, sender }: EvmAnchorOptions): string {
  const own = key === undefined ? undefined : lower(addr.fromPrivateKey(key));
  const wanted = sender === undefined ? undefined : lower(parse(address, sender, 'address of the sender', 'E_CONFIG'));
  if (own !== undefined && wanted !== undefined && !equalBytes(bytesOf(own), bytesOf(wanted)))
    throw new MillraceError('E_CONFIG', 'the key is not that of the sender');
  const known = own ?? wanted;
  if (known === undefined) throw new MillraceError('E_CONFIG', 'neither a key nor a sender is configured');
  return known;
}

const lower = (text: string): string => text.toLowerCase();
const hex = (bytes: Uint8Array): string => `0x${toHex(bytes)}`;
const bytesOf = (text: string): Bytes => fromHex(text.slice(2));

function refused(what: string): MillraceError {
  return new MillraceError('E_ANCHOR', `the anchor’s proof ${what}`);
}
