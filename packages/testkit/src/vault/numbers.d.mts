import type { PointsEngine } from '@millrace/vault';

export const numbers: PointsEngine;
