import { play } from '@millrace/testkit/adversary/position';
import { segments } from './positions/single-nodes.ts';

play(segments);
