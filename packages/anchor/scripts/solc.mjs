import { createRequire } from 'node:module';

/** Creation code of MillraceAnchor as hex, or an error that lists what the compiler said. */
export async function compile(source) {
  const solc = createRequire(import.meta.url)('solc'); // installed beside the project
  const input = {
    language: 'Solidity',
    sources: { 'MillraceAnchor.sol': { content: source } },
    settings: {
      evmVersion: 'paris',
      optimizer: { enabled: true, runs: 200 },
      metadata: { bytecodeHash: 'none', appendCBOR: false },
      outputSelection: { '*': { '*': ['evm.bytecode.object'] } },
    },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  if (output.errors?.length) throw new Error(output.errors.map((error) => error.formattedMessage).join('\n'));
  return output.contracts['MillraceAnchor.sol'].MillraceAnchor.evm.bytecode.object;
}
