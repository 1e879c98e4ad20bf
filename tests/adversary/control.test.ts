import { control } from './positions/single-nodes.ts';
import { play } from './support/position.ts';

play(control);
