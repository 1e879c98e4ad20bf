import type { PointsEngine } from '../src/index.ts';

export const numbers: PointsEngine;
