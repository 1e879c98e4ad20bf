import { play } from '@millrace/testkit/adversary/position';
import { agent } from './positions/agent.ts';

play(agent);
