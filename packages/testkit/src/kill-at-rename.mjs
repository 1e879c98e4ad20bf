// Loaded before a program (NODE_OPTIONS=--import): ends the process with SIGKILL right before one of its renames, which
// are its durable writes. MILLRACE_KILL_AT counts them from 1.
import promises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';

const wanted = Number(process.env.MILLRACE_KILL_AT);
const { rename } = promises;
let count = 0;
promises.rename = async (from, to) => {
  if (++count === wanted) process.kill(process.pid, 'SIGKILL');
  return rename(from, to);
};
syncBuiltinESMExports();
