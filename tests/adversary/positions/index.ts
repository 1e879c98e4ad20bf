import type { Row } from '@millrace/testkit/adversary/position';
import { agent } from './agent.ts';
import {
  allNodes,
  controlAndDistribution,
  controlAndKeys,
  controlAndSegments,
  keysAndDistribution,
  segmentsAndDistribution,
  segmentsAndKeys,
} from './coalitions.ts';
import { distribution } from './distribution.ts';
import { operator } from './operator.ts';
import { otherCloud } from './other-cloud.ts';
import { outsider } from './outsider.ts';
import { control, keys, segments } from './single-nodes.ts';
import { tenant } from './tenant.ts';

/** The rows of the matrix by test file, in order. */
export const files: Readonly<Record<string, Readonly<Record<string, Row>>>> = {
  outsider: { outsider },
  tenant: { tenant },
  operator: { operator },
  agent: { agent },
  distribution: { distribution },
  segments: { segments },
  keys: { keys },
  control: { control },
  pairs: {
    controlAndSegments,
    controlAndKeys,
    controlAndDistribution,
    segmentsAndKeys,
    segmentsAndDistribution,
    keysAndDistribution,
  },
  'all-nodes': { allNodes },
  'other-cloud': { otherCloud },
};

export const positions: readonly Row[] = Object.values(files).flatMap((rows) => Object.values(rows));
