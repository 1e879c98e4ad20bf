import { play } from '@millrace/testkit/adversary/position';
import {
  controlAndDistribution,
  controlAndKeys,
  controlAndSegments,
  keysAndDistribution,
  segmentsAndDistribution,
  segmentsAndKeys,
} from './positions/coalitions.ts';

play(controlAndSegments);
play(controlAndKeys);
play(controlAndDistribution);
play(segmentsAndKeys);
play(segmentsAndDistribution);
play(keysAndDistribution);
