import { allNodes } from './positions/coalitions.ts';
import { play } from './support/position.ts';

play(allNodes);
