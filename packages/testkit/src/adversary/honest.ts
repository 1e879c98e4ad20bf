import { sleep } from '@millrace/base';
import type { PrintView } from '@millrace/client';
import { expect } from 'vitest';
import { randomDesign } from '../designs.ts';
import type { Answer } from '../http.ts';
import { license, order, store, untilEnded } from '../job.ts';
import type { HostileInstallation } from './hostile-installation.ts';
import type { TestAgent } from './test-agent.ts';

export { outcomeOf } from '../protocol/support.ts';

/** A design of the owner in the vault, and a licence for the operator on the licensed machine. */
export interface Licensed {
  readonly content: Uint8Array;
  readonly design: string;
  readonly licence: string;
  readonly objects: number;
}

export const SEGMENT = 16_370;
let stored = 0;

/** @param segments number of segments of the design. Its content is random, so that any 16 bytes of it are unique. */
export async function licensed(
  system: HostileInstallation,
  objects = 1,
  segments = 6,
  custody: 'owner' | 'keys' = 'owner',
): Promise<Licensed> {
  const content = randomDesign(segments * SEGMENT - 100);
  const { design } = await store(system, system.owner, content, {
    name: `design-${++stored}.bin`,
    kind: 'binary',
    bytesPerSecond: 1e9,
    custody,
  });
  return { content, design, licence: await license(system, system.owner, design, objects), objects };
}

/** The operator requests a print and waits for its end. */
export async function printed(system: HostileInstallation, licence: string, limitMs = 30_000): Promise<PrintView> {
  return untilEnded(system.operator, await order(system, system.operator, licence), limitMs);
}

/** Makes one object of the licence on the licensed machine. @returns the executed bytes */
export async function made(system: HostileInstallation, licence: string) {
  const agent = await system.agent();
  const { object = '', print, state } = await printed(system, licence);
  expect(state).toBe('completed');
  await agent.close();
  return { object, print, captured: agent.executed() };
}

/** Number of permitted objects of a licence. */
export async function permitted(system: HostileInstallation, { licence }: Pick<Licensed, 'licence'>): Promise<number> {
  return (await system.owner.api.licence(licence)).permitted;
}

/** The error code of an HTTP answer, or `accepted`. */
export async function answerOf(work: Promise<Answer>): Promise<string> {
  const { status, error } = await work;
  return status === 200 ? 'accepted' : (error?.code ?? `status ${status}`);
}

/** Asserts that the machine took exactly these bytes. */
export function expectTaken({ runs }: Pick<TestAgent, 'runs'>, ...contents: readonly Uint8Array[]): void {
  expect(runs.map(({ length }) => length)).toEqual(contents.map(({ length }) => length));
  for (const [i, content] of contents.entries()) expect(Buffer.from(runs[i] ?? []).equals(content)).toBe(true);
}

/** Asserts that the machine took only a prefix of the design. @returns its length */
export function expectBeginning({ runs }: Pick<TestAgent, 'runs'>, content: Uint8Array): number {
  expect(runs.length).toBeLessThanOrEqual(1);
  const [run = new Uint8Array()] = runs;
  expect(Buffer.from(run).equals(content.subarray(0, run.length))).toBe(true);
  return run.length;
}

/** Waits for a condition; fails after a timeout. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, limitMs = 20_000): Promise<void> {
  for (const end = performance.now() + limitMs; !(await holds()); await sleep(20))
    if (performance.now() > end) throw new Error(`timed out waiting: ${what}`);
}
