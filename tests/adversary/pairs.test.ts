import {
  controlAndDistribution,
  controlAndKeys,
  controlAndSegments,
  keysAndDistribution,
  segmentsAndDistribution,
  segmentsAndKeys,
} from './positions/coalitions.ts';
import { play } from './support/position.ts';

play(controlAndSegments);
play(controlAndKeys);
play(controlAndDistribution);
play(segmentsAndKeys);
play(segmentsAndDistribution);
play(keysAndDistribution);
