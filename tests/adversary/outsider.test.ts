import { play } from '@millrace/testkit/adversary/position';
import { outsider } from './positions/outsider.ts';

play(outsider);
