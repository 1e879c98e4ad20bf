import { operator } from './positions/operator.ts';
import { play } from './support/position.ts';

play(operator);
