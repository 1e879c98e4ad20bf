import { play } from '@millrace/testkit/adversary/position';
import { tenant } from './positions/tenant.ts';

play(tenant);
