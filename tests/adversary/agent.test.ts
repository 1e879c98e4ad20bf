import { agent } from './positions/agent.ts';
import { play } from './support/position.ts';

play(agent);
