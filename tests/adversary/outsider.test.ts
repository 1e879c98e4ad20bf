import { outsider } from './positions/outsider.ts';
import { play } from './support/position.ts';

play(outsider);
