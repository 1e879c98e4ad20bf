import { distribution } from './positions/distribution.ts';
import { play } from './support/position.ts';

play(distribution);
