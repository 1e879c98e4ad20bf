import { play } from '@millrace/testkit/adversary/position';
import { allNodes } from './positions/coalitions.ts';

play(allNodes);
