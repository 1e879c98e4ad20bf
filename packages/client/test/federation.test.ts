import { MillraceError, systemClock, systemRandom } from '@millrace/base';
import { generateUserKey } from '@millrace/identity';
import { readTransaction } from '@millrace/protocol';
import { codeOf } from '@millrace/testkit/client/helpers';
import { describe, expect, it } from 'vitest';
import { cancelVisit } from '../src/federation.ts';
import type { Session, VisitView } from '../src/index.ts';

const signer = generateUserKey();
const [here, there, machine, own, print, other, visit] = ['a', 'b', 'c', 'd', 'e', 'f', '1'].map((c) => c.repeat(32));

/** Two clouds that record what is submitted, as `cloud:type`. */
function clouds(refusals: Record<string, string> = {}) {
  const submitted: string[] = [];
  const session = (installation = '', api: object = {}) =>
    ({
      ...{ signer, clock: systemClock, random: systemRandom, directory: { installation, name: installation } },
      api: {
        ...api,
        submit: async (bytes: Uint8Array) => {
          const { type } = readTransaction(bytes);
          if (refusals[type] !== undefined) throw new MillraceError(refusals[type] as 'E_STATE', type);
          submitted.push(`${installation[0]}:${type}`);
        },
      },
    }) as unknown as Session;
  const machines = async () => [{ machine, cloud: there }, { machine: own }];
  const prints = async (id: string) => ({ print: id, machine: id === print ? machine : own });
  return { here: session(here, { machines, print: prints }), there: session(there), submitted };
}
const view = (changes: object = {}) =>
  ({ visit, cloud: here, print, machine, state: 'queued', ...changes }) as VisitView;

describe('an order on a machine of another cloud', () => {
  it('is cancelled there first, then here', async () => {
    const both = clouds();
    await cancelVisit(both.here, both.there, view());
    expect(both.submitted).toEqual(['b:visit.cancel', 'a:print.cancel']);
  });

  it('keeps its print if the machine has taken it', async () => {
    const both = clouds({ 'visit.cancel': 'E_STATE' });
    expect(await codeOf(cancelVisit(both.here, both.there, view()))).toBe('E_STATE');
    expect(both.submitted).toEqual([]);
  });

  it('is cancelled completely by another attempt, also when its print has expired', async () => {
    const [again, expired] = [clouds(), clouds({ 'print.cancel': 'E_STATE' })];
    await cancelVisit(again.here, again.there, view({ state: 'cancelled' }));
    expect(again.submitted).toEqual(['a:print.cancel']);
    await cancelVisit(expired.here, expired.there, view());
    expect(expired.submitted).toEqual(['b:visit.cancel']);
  });

  it('cancels nothing else here, whatever the other cloud says that the visit is for', async () => {
    const both = clouds();
    const cancel = (changes: object) => codeOf(cancelVisit(both.here, both.there, view(changes)));
    expect(await cancel({ print: other })).toBe('E_EVIDENCE');
    expect(await cancel({ print: other, machine: own })).toBe('E_EVIDENCE');
    expect(await cancel({ cloud: there })).toBe('E_INPUT');
    expect(both.submitted).toEqual([]);
  });
});
