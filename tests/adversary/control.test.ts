import { play } from '@millrace/testkit/adversary/position';
import { control } from './positions/single-nodes.ts';

play(control);
