// npm run contract -w @millrace/anchor: compiles contract/MillraceAnchor.sol into src/evm/contract.ts.
// Needs `npm install --no-save solc@0.8.37`.
import { readFileSync, writeFileSync } from 'node:fs';
import { compile } from './solc.mjs';

const source = new URL('../contract/MillraceAnchor.sol', import.meta.url);
const target = new URL('../src/evm/contract.ts', import.meta.url);
const bytecode = await compile(readFileSync(source, 'utf8'));
writeFileSync(
  target,
  `// Made by scripts/compile-contract.mjs from contract/MillraceAnchor.sol.

/** Creation code of the contract (solc 0.8.37, optimizer 200 runs, EVM Paris, no metadata). */
export const CONTRACT_BYTECODE =
  '0x${bytecode}';
`,
);
