import { expect, it } from 'vitest';
import { fuzz } from './support/run.ts';
import { certificateTargets } from './targets/certificate.ts';
it('x', async () => { for (const t of await certificateTargets()) { const o = await fuzz(t, 3000, Date.now() % 2**31); console.log(t.name, JSON.stringify(o)); } expect(1).toBe(1); }, 600000);
