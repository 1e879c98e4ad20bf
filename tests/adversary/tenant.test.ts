import { tenant } from './positions/tenant.ts';
import { play } from './support/position.ts';

play(tenant);
