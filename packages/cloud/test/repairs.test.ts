import { expect, it } from 'vitest';
import { beginRepair, takeRepaired } from '../src/control/designs.ts';
import { controlFixture } from './control-fixture.ts';

it('a node that was frozen cannot report a failure of a repair that another one has finished', async () => {
  const { context, stored, addDesign, prepare } = await controlFixture();
  const design = await stored(await addDesign(await prepare()));
  await context.records.designs.update(design, (record) => ({
    ...record,
    damage: { missing: [0], damaged: [], keys: false, found: 0 },
  }));
  const repair = await beginRepair(context, design, [0]);
  const report = { type: 'design.repaired' as const, design, repair };
  await takeRepaired(context, { ...report, segments: [0] });
  const repaired = await context.records.designs.require(design);
  expect(repaired.repair).toMatchObject({ state: 'done' });
  expect(repaired.damage).toBeUndefined();
  await takeRepaired(context, { ...report, segments: [], code: 'E_UPLOAD', reason: 'segment 0 has not been uploaded' });
  expect(await context.records.designs.require(design)).toEqual(repaired);
  // A repair that did fail is begun again under another name.
  const again = await beginRepair(context, design, [0]);
  await takeRepaired(context, { ...report, repair: again, segments: [], code: 'E_UPLOAD', reason: 'not uploaded' });
  expect((await context.records.designs.require(design)).repair).toMatchObject({ repair: again, state: 'failed' });
});
