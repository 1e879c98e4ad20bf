import { type Bytes, copyBytes, encodeCbor } from '@millrace/base';
import { type Permit, signPermit } from '@millrace/protocol';
import type { TestCloud } from '@millrace/testkit/machine/agent-cloud';
import type { CallHomeAnswer } from '@millrace/testkit/machine/agent-cloud-stream';
import type { StoredDesign } from '@millrace/testkit/machine/agent-design';
import type { Bench } from '@millrace/testkit/machine/agent-harness';
import { expect } from 'vitest';

// Helpers for tests of a hostile cloud.

/** Prints. The stream must stop with `code` before the machine has moved on segment `bad` or a later one. */
export async function expectStop(bench: Bench, design: StoredDesign, code: string, bad: number): Promise<void> {
  const { cloud } = bench;
  await cloud.print();
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'failed' || event === 'completed'));
  const last = cloud.reports.at(-1);
  expect(last).toMatchObject({ event: 'failed', facts: { code } });
  const executed = bench.executed();
  expect(executed.length).toBeLessThanOrEqual(bad * 16_370);
  expect(executed.equals(design.bytes.subarray(0, executed.length))).toBe(true);
  // The state that the system sees has nothing of the design.
  expect(last?.facts.contentMac).toBeUndefined();
  await bench.agent.close();
  expect((await bench.object(last?.object ?? '')).code).toBe(code);
}

/** Another permit for the newest request, as control could sign it. */
export function permitOf(cloud: TestCloud, change: Partial<Permit>, key = cloud.permitKey): Promise<Bytes> {
  const bytes = cloud.requestBytes.at(-1);
  const request = cloud.requests.at(-1);
  if (bytes === undefined || request === undefined) throw new Error('no request');
  return signPermit(key, cloud.directory.installation, { ...cloud.permitFor(request, bytes), ...change });
}

/** The permit's id, which the offer must name. */
export function permitIdOf(answer: CallHomeAnswer): Bytes {
  const at = Buffer.from(answer.permit).indexOf(encodeCbor('id'));
  return copyBytes(answer.permit.subarray(at + 4, at + 20));
}
