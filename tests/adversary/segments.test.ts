import { segments } from './positions/single-nodes.ts';
import { play } from './support/position.ts';

play(segments);
