import { play } from '@millrace/testkit/adversary/position';
import { otherCloud } from './positions/other-cloud.ts';

play(otherCloud);
