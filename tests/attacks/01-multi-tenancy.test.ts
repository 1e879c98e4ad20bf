import { answerOf, type Licensed, licensed } from '@millrace/testkit/adversary/honest';
import { type HostileInstallation, openHostileInstallation } from '@millrace/testkit/adversary/hostile-installation';
import { callAsMachine } from '@millrace/testkit/adversary/machine-calls';
import type { Answer } from '@millrace/testkit/http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Row 1: tenant B requests tenant A's data. It gets not a byte, and each rejection is in the node's log.

let system: HostileInstallation;
let job: Licensed;
const log: string[] = [];
beforeAll(async () => {
  system = await openHostileInstallation({ log });
  job = await licensed(system, 1);
});
afterAll(() => system?.close());

/** Every route to an object, a design or a licence: the path and the node. */
const ways = () =>
  [
    ['control', `/v1/designs/${job.design}`],
    ['control', `/v1/designs/${job.design}/private`],
    ['control', `/v1/licences/${job.licence}`],
    ['distribution', `/v1/uploads/${job.design}/0`],
  ] as const;
const ask = (who: 'owner' | 'tenant'): Promise<Answer[]> =>
  Promise.all(ways().map(([node, path]) => system.call(node, who, { method: 'GET', path })));
const refusals = () =>
  log.filter((line) => line.includes('"msg":"request refused"') && /E_FORBIDDEN|E_AUTH/.test(line));

describe('baseline: the owner', () => {
  it('gets all data of the design except sealed segments', async () => {
    const answers = await ask('owner');
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 401]);
    expect(answers[1]?.body.length).toBeGreaterThan(32);
  });
});

describe('another tenant', () => {
  it('gets only error codes, which reveal nothing about the design', async () => {
    const before = refusals().length;
    const answers = await ask('tenant');
    for (const { status, text } of answers) {
      expect([401, 403]).toContain(status);
      const members = ['code', 'data', 'detail', 'remedy', 'retryable', 'status', 'title', 'type'];
      expect(Object.keys(JSON.parse(text)).sort()).toEqual(members);
      expect(text).not.toMatch(/segments|size|sealed/);
    }
    expect(refusals().length).toBe(before + answers.length);
  });

  it('gets nothing through its own machine', async () => {
    const before = refusals().length;
    const machine = await callAsMachine(system, 'elsewhere-1');
    const { bytes } = await machine.request('00'.repeat(16));
    await expect(machine.calls.callHome(bytes, machine.signal)).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
    machine.close();
    const path = `/v1/machines/${system.elsewhere}/call-home`;
    expect(await answerOf(system.call('control', 'tenant', { method: 'POST', path, body: bytes }))).toBe('E_AUTH');
    expect(refusals().length).toBe(before + 1);
  });
});
