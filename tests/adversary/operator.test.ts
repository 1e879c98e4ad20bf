import { play } from '@millrace/testkit/adversary/position';
import { operator } from './positions/operator.ts';

play(operator);
