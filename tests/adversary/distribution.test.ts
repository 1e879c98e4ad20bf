import { play } from '@millrace/testkit/adversary/position';
import { distribution } from './positions/distribution.ts';

play(distribution);
