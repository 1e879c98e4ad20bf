import { type Bytes, compareBytes, MillraceError, toHex } from '@millrace/base';
import { mutate } from './mutate.ts';
import { Random } from './random.ts';
import type { Target } from './target.ts';

/** Maximum processor time of one input, ms. A fault only if three measurements exceed it. */
const MAX_MS = 400;
/** Maximum memory growth of the process over one target, bytes. */
const MAX_BYTES = 600 * 2 ** 20;

export interface Outcome {
  readonly inputs: number;
  readonly refused: number;
  readonly accepted: number;
  /** Number of refusals by code. */
  readonly codes: Readonly<Record<string, number>>;
  /** Processor time of the slowest input, ms. */
  readonly slowest: number;
}

export class FuzzFault extends Error {}

/** Tries `inputs` inputs. @throws {FuzzFault} with the seed, the number of the input and the input itself */
export async function fuzz(target: Target, inputs: number, seed: number): Promise<Outcome> {
  await requireSamples(target);
  const before = process.memoryUsage.rss();
  const codes: Record<string, number> = {};
  let [accepted, slowest] = [0, 0];
  for (let number = 0; number < inputs; number++) {
    const random = new Random(seed + number * 2 ** 32);
    const input = await inputOf(target, random);
    const began = process.cpuUsage();
    const result = await judge(target, input);
    const took = milliseconds(began);
    if (result.fault !== undefined) throw fault(target, seed, number, input, result.fault);
    if (took > MAX_MS && (await isSlow(target, input))) throw fault(target, seed, number, input, `takes ${took} ms`);
    slowest = Math.max(slowest, took);
    if (result.code === undefined) accepted++;
    else codes[result.code] = (codes[result.code] ?? 0) + 1;
  }
  const grown = process.memoryUsage.rss() - before;
  if (grown > MAX_BYTES) throw new FuzzFault(`${target.name}: the process grew by ${grown} bytes, seed ${seed}`);
  return { inputs, refused: inputs - accepted, accepted, codes, slowest };
}

async function inputOf({ make, samples }: Target, random: Random): Promise<Bytes> {
  if (make !== undefined && (samples.length === 0 || random.below(2) === 0)) return make(random);
  return mutate(samples, random);
}

/**
 * Tries one input. An input must be refused with an allowed code, or accepted if that is allowed; otherwise it is a
 * fault.
 */
export async function judge(target: Target, input: Bytes): Promise<{ code?: string; fault?: string }> {
  let result: unknown;
  try {
    result = await target.decode(input);
  } catch (error) {
    if (!(error instanceof MillraceError))
      return { fault: `threw ${error instanceof Error ? error.stack : String(error)}` };
    if (target.codes.includes(error.code)) return { code: error.code };
    return { fault: `refused with ${error.code}: ${error.message}` };
  }
  if (target.accepts === 'any') return {};
  if (target.accepts !== 'samples') return target.accepts(result, input) ? {} : { fault: 'accepted what it may not' };
  return target.samples.some((sample) => compareBytes(sample, input) === 0)
    ? {}
    : { fault: 'accepted what is no sample' };
}

/** Checks that the target accepts its samples. Otherwise the target would test nothing. */
async function requireSamples(target: Target): Promise<void> {
  for (const [i, sample] of target.samples.entries()) {
    const { code, fault: why } = await judge(target, sample);
    if (code !== undefined || why !== undefined)
      throw new FuzzFault(`${target.name}: sample ${i} is not accepted: ${code ?? why}`);
  }
}

/** Uses the lowest processor time of three runs, so that other load does not matter. */
async function isSlow(target: Target, input: Bytes): Promise<boolean> {
  for (let i = 0; i < 3; i++) {
    const began = process.cpuUsage();
    await judge(target, input);
    if (milliseconds(began) <= MAX_MS) return false;
  }
  return true;
}

function milliseconds(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1_000;
}

function fault(target: Target, seed: number, number: number, input: Bytes, what: string): FuzzFault {
  const hex = input.length > 2_000 ? `${toHex(input.subarray(0, 2_000))}… (${input.length} bytes)` : toHex(input);
  return new FuzzFault(`${target.name}: ${what}\n  seed ${seed}, input ${number}: ${hex}`);
}
