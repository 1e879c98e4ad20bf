import { expect, it } from 'vitest';
import { checkNodeState } from '../src/control/node-states.ts';
import { controlFixture } from './control-fixture.ts';

const first = { id: 'segments-1', role: 'segments' } as const;
const second = { id: 'segments-2', role: 'segments' } as const;
const keys = { id: 'keys-1', role: 'keys' } as const;
const quarantined = { code: 'E_QUARANTINE' };

it('tracks epochs and quarantine per node, not per role', async () => {
  const { context } = await controlFixture();
  const names = () => [...context.quarantine.keys()];
  await checkNodeState(context, first, { epoch: 5 });
  await checkNodeState(context, second, { epoch: 2 });
  await expect(checkNodeState(context, second, { epoch: 1 })).rejects.toMatchObject(quarantined);
  expect(names()).toEqual(['segments-2']);
  await checkNodeState(context, first, { epoch: 5 });
  expect(names()).toEqual(['segments-2']);
  await checkNodeState(context, second, { epoch: 2 });
  expect(names()).toEqual([]);
});

it('compares a keys node with the newest epoch of any segments node', async () => {
  const { context } = await controlFixture();
  await checkNodeState(context, first, { epoch: 3 });
  await checkNodeState(context, second, { epoch: 7 });
  await expect(checkNodeState(context, keys, { epoch: 6 })).rejects.toMatchObject(quarantined);
  await checkNodeState(context, keys, { epoch: 7 });
});

it('quarantines a node that reports itself as restored to an older state, until it stops reporting so', async () => {
  const { context } = await controlFixture();
  await expect(checkNodeState(context, first, { epoch: 1, suspicion: 'older' })).rejects.toMatchObject(quarantined);
  expect(context.quarantine.get('segments-1')).toMatchObject({
    role: 'segments',
    reason: expect.stringContaining('older'),
  });
  await checkNodeState(context, first, { epoch: 1 });
  expect(context.quarantine.size).toBe(0);
});
