import type { Disclosure } from '@millrace/protocol/shapes';
import type { MachineStateView, Progress } from './routes/prints.ts';

/**
 * The part of a running print's figures that the licence's `disclose` shows to its holder. Control shows nothing else,
 * and the console shows owners with it what an operator would see.
 */
export function disclosedTo(
  { acked, revision, matrix, machine }: Progress,
  disclose: readonly Disclosure[],
): Partial<Omit<Progress, 'machine'>> & { readonly machine?: MachineStateView } {
  const { state, temperatures, buffer, wire, hints } = machine ?? {};
  const shown = {
    ...(disclose.includes('state') ? { state } : {}),
    ...(disclose.includes('temperatures') ? { temperatures } : {}),
    ...(disclose.includes('buffer') ? { buffer } : {}),
    ...(disclose.includes('progress') ? { wire, hints } : {}),
  };
  return {
    ...(disclose.includes('progress') ? { acked, revision, matrix } : {}),
    ...(machine === undefined ? {} : { machine: shown }),
  };
}
