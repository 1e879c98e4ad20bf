import { play } from '@millrace/testkit/adversary/position';
import { keys } from './positions/single-nodes.ts';

play(keys);
