import type { KeyView } from '@millrace/api';
import { describe, expect, it } from 'vitest';
import { isOpen, peopleOf } from '../src/web/people-data.ts';

const DAY = 86_400_000;
const now = 1_000 * DAY;
const key = (name: string, person: string, more: Partial<KeyView> = {}): KeyView => ({
  ...{ key: name.repeat(32).slice(0, 32), name: `Person ${person}`, person, roles: ['designer'] },
  ...{ until: now + 100 * DAY, created: now - DAY, device: name, credential: 'AAAA', ...more },
});
const honest = async () => true;

describe('the people of an organisation', () => {
  it('have all their keys, the valid ones first, with their states', async () => {
    const people = await peopleOf(
      [
        key('a', '1', { revoked: { at: now - DAY, kept: 0 }, roles: ['owner-admin'] }),
        key('b', '1', { until: now + 13 * DAY, roles: ['auditor'] }),
        key('c', '2', { until: now - 1 }),
        key('d', '1', { created: now }),
      ],
      honest,
      now,
    );
    expect(
      people.map(({ person, roles, keys }) => [person, roles, keys.map(({ view, state }) => [view.device, state])]),
    ).toEqual([
      [
        ...['1', ['designer']],
        [
          ['d', 'valid'],
          ['b', 'expiresSoon'],
          ['a', 'revoked'],
        ],
      ],
      ['2', ['designer'], [['c', 'expired']]],
    ]);
  });

  it('are not who control says if the credential does not prove it', async () => {
    const [first, second] = await peopleOf(
      [key('a', '1', { name: 'Alice' }), key('b', '2', { name: 'Bob' })],
      async ({ device }) => device === 'b',
      now,
    );
    expect([first?.name, first?.keys[0]?.state]).toEqual(['Bob', 'valid']);
    expect([second?.name, second?.keys[0]?.state]).toEqual(['Alice', 'unverified']);
  });

  it('are invited until the invitation is used, revoked or expired', () => {
    const invitation = { expires: now + 1, revoked: false } as Parameters<typeof isOpen>[0];
    expect(isOpen(invitation, now)).toBe(true);
    for (const closed of [{ usedBy: 'a' }, { revoked: true }, { expires: now }])
      expect(isOpen({ ...invitation, ...closed }, now)).toBe(false);
  });
});
