import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { fromHex, utf8 } from '@millrace/base';
import { exportCertificate, type Ledger, openCheckpoint, parseVerifierKey } from '@millrace/ledger';
import { EVM_KEYS, findAnvil, startEvmChain } from '@millrace/testkit/evm-chain';
import { sha256 } from '@noble/hashes/sha2.js';
import { addr } from 'micro-eth-signer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  anchorBundle,
  decodeAnchored,
  deployAnchorContract,
  EvmAnchor,
  encodeAnchored,
  verifyAnchored,
} from '../src/index.ts';
import { CONTRACT_BYTECODE } from '../src/parts.ts';
import { ledgerWithObject } from './ledger-with-object.ts';

const anvil = findAnvil();
const hasCompiler = existsSync(fileURLToPath(new URL('../../../node_modules/solc', import.meta.url)));
if (anvil === undefined) console.warn('skipped: @foundry-rs/anvil is not installed, so no contract is run');
if (!hasCompiler) console.warn('skipped: solc is not installed, so the contract is not compiled again');

const [KEY, OTHER_KEY] = EVM_KEYS.map(fromHex) as [Uint8Array, Uint8Array];

describe.skipIf(!hasCompiler)('the contract', () => {
  it('is the compiler’s output for its source', async () => {
    const { compile } = await import('../scripts/solc.mjs');
    const source = readFileSync(new URL('../contract/MillraceAnchor.sol', import.meta.url), 'utf8');
    expect(`0x${await compile(source)}`).toBe(CONTRACT_BYTECODE);
  });
});

describe.skipIf(anvil === undefined)('EvmAnchor on a local chain', () => {
  let chain: Awaited<ReturnType<typeof startEvmChain>>;
  let rpc: URL;
  let contract: string;
  let ledger: Ledger;

  beforeAll(async () => {
    chain = await startEvmChain(anvil ?? '');
    rpc = chain.rpc;
    contract = await deployAnchorContract(rpc, KEY);
    ledger = await ledgerWithObject();
  }, 60_000);
  afterAll(async () => {
    await ledger?.close();
    chain?.stop();
  });

  const head = (size: number, fill = size) => ({
    origin: 'ledger.example/one',
    size,
    root: new Uint8Array(32).fill(fill),
  });
  const account = (name: string) => Uint8Array.from(sha256(utf8(name)));
  const payer = (key = KEY) => new EvmAnchor({ rpc, contract, key, confirmations: 0 });
  const reader = (options = {}) =>
    new EvmAnchor({ rpc, contract, sender: addr.fromPrivateKey(KEY), confirmations: 0, ...options });
  const call = async (method: string, ...params: unknown[]) => {
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
    const headers = { 'content-type': 'application/json' };
    return (await fetch(rpc, { method: 'POST', headers, body })).json();
  };

  it('anchors a head, and reports time and place', async () => {
    const before = Date.now();
    const proof = await payer().submit(head(1), account('a'));
    const { kind, time, place } = await reader().verify(proof, head(1));
    expect(kind).toBe('evm');
    expect(place).toMatch(/^chain 31337, block \d+, transaction 0x[0-9a-f]{64}$/);
    expect(Math.abs(time - before)).toBeLessThan(3_600_000);
  });

  it('rejects another head, another sender, another contract and a rewritten log', async () => {
    const proof = await payer().submit(head(2), account('b'));
    await expect(reader().verify(proof, head(3))).rejects.toMatchObject({ code: 'E_ANCHOR' });
    await expect(reader().verify(proof, head(2, 9))).rejects.toThrow('is of another checkpoint');
    const stranger = reader({ sender: addr.fromPrivateKey(OTHER_KEY) });
    await expect(stranger.verify(proof, head(2))).rejects.toThrow('is of another checkpoint');
    const other = await deployAnchorContract(rpc, OTHER_KEY);
    await expect(reader({ contract: other }).verify(proof, head(2))).rejects.toThrow('is of another contract');
  });

  it('rejects the same event from another contract', async () => {
    const forger = await deployAnchorContract(rpc, OTHER_KEY);
    const forged = await new EvmAnchor({ rpc, contract: forger, key: KEY, confirmations: 0 }).submit(head(4));
    const claimed = JSON.parse(new TextDecoder().decode(forged.bytes));
    const bytes = utf8(JSON.stringify({ ...claimed, contract }));
    await expect(reader().verify({ kind: 'evm', bytes }, head(4))).rejects.toThrow('is of another checkpoint');
  });

  it('rejects a head not larger than the newest one, and spends nothing on the attempt', async () => {
    const object = account('c');
    await payer().submit(head(10), object);
    const balance = await call('eth_getBalance', addr.fromPrivateKey(KEY), 'latest');
    for (const late of [head(9), head(10, 1)])
      await expect(payer().submit(late, object)).rejects.toMatchObject({ code: 'E_ANCHOR' });
    expect(await call('eth_getBalance', addr.fromPrivateKey(KEY), 'latest')).toMatchObject({ result: balance.result });
    await payer(OTHER_KEY).submit(head(9), object); // accounts are per sender
    await payer().submit(head(11), object);
  });

  it('counts confirmations', async () => {
    const proof = await payer().submit(head(5), account('d'));
    const careful = reader({ confirmations: 3 });
    await expect(careful.verify(proof, head(5))).rejects.toThrow('has 0 of 3 confirmations');
    await call('anvil_mine', '0x3');
    expect(await careful.verify(proof, head(5))).toMatchObject({ kind: 'evm' });
  });

  it('costs a limited amount of gas', async () => {
    const gas: Record<string, number> = {};
    for (const [what, size] of [
      ['first head of an account', 20],
      ['each head after it', 21],
    ] as const) {
      const proof = await payer().submit(head(size), account('e'));
      const { transaction } = JSON.parse(new TextDecoder().decode(proof.bytes));
      const { result } = await call('eth_getTransactionReceipt', transaction);
      gas[what] = Number(result.gasUsed);
    }
    console.info('gas', gas);
    // Writing a new word costs 22,100, a new value 5,000 (EIP-2929), a transaction 21,000.
    expect(gas['first head of an account']).toBeLessThan(75_000);
    expect(gas['each head after it']).toBeLessThan(40_000);
  });

  it('rejects damaged proofs, and reports an unreachable chain', async () => {
    for (const bytes of [utf8('{'), utf8('{}'), Uint8Array.of(0xff), utf8('{"chain":"0x1","contract":"0x"}')])
      await expect(reader().verify({ kind: 'evm', bytes }, head(1))).rejects.toMatchObject({ code: 'E_ANCHOR' });
    const away = new EvmAnchor({ rpc: new URL('http://127.0.0.1:1'), contract, key: KEY, timeoutMs: 300 });
    await expect(away.submit(head(30))).rejects.toMatchObject({ code: 'E_UNAVAILABLE' });
  });

  it('verifies a certificate with the anchor of a later checkpoint', async () => {
    const certificate = await exportCertificate(ledger, 'object-1');
    await ledger.append({ account: 'machine-2', type: 'machine', actor: 'control', body: {}, eventId: 'machine-2' });
    const later = ledger.checkpoint();
    const proof = await payer().submit(openCheckpoint(later, { logKey: parseVerifierKey(ledger.logKey) }));
    const bundle = await anchorBundle(ledger, certificate, later, [proof]);
    const trust = { logKey: ledger.logKey };
    const verified = await verifyAnchored(bundle, trust, [reader()]);
    expect(verified).toMatchObject({ object: 'object-1', state: 'completed', anchored: [{ kind: 'evm' }] });

    const parts = decodeAnchored(bundle);
    const damaged = encodeAnchored({ ...parts, consistency: parts.consistency.map(() => new Uint8Array(32)) });
    await expect(verifyAnchored(damaged, trust, [reader()])).rejects.toMatchObject({ code: 'E_LEDGER_PROOF' });
    await expect(verifyAnchored(bundle, trust, [])).rejects.toThrow('no anchor of kind evm is configured');
    await expect(verifyAnchored(bundle.subarray(0, 40), trust, [reader()])).rejects.toMatchObject({
      code: 'E_CERTIFICATE',
    });
  });
});
