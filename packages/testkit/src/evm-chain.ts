import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

/** Private keys of the accounts with ether on every anvil chain. They are public. */
export const EVM_KEYS = [
  'ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80',
  '59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d',
] as const;

/**
 * Path of the program anvil, which `npm install --no-save @foundry-rs/anvil@1.7.1` installs; undefined if it is absent.
 */
export function findAnvil(): string | undefined {
  const { platform, arch } = process;
  try {
    return createRequire(import.meta.url).resolve(
      `@foundry-rs/anvil-${platform}-${arch === 'x64' ? 'amd64' : arch}/bin/anvil`,
    );
  } catch {
    return undefined;
  }
}

/** Starts an empty local EVM chain. */
export async function startEvmChain(anvil: string): Promise<{ readonly rpc: URL; stop(): void }> {
  const chain = spawn(anvil, ['--port', '0', '--hardfork', 'cancun'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const rpc = await new Promise<URL>((resolve, reject) => {
    chain.once('error', reject);
    chain.once('exit', (code) => reject(new Error(`anvil ended with ${code}`)));
    createInterface({ input: chain.stdout }).on('line', (line) => {
      const address = /Listening on (\S+)/.exec(line)?.[1];
      if (address !== undefined) resolve(new URL(`http://${address}`));
    });
  });
  return { rpc, stop: () => void chain.kill('SIGKILL') };
}
