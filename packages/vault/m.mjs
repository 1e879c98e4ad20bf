import { randomBytes } from 'node:crypto';
import { addPoints, movePoints, takeOffPoints } from './dist/points/layer.js';

const cpu = (name, f) => {
  const a = process.cpuUsage();
  const r = f();
  const b = process.cpuUsage(a);
  console.log(name, ((b.user + b.system) / 1000).toFixed(0), 'ms');
  return r;
};
const l = randomBytes(32),
  k = randomBytes(32),
  s = randomBytes(16386);
for (let i = 0; i < 2; i++) {
  const c = cpu('add', () => addPoints(k, l, s));
  cpu('move', () => movePoints(k, l, c));
  cpu('takeoff', () => takeOffPoints(k, l, c));
}
