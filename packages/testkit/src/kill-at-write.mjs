// Loaded before a node's program (NODE_OPTIONS=--import): ends the process with SIGKILL right after one of its durable
// writes. MILLRACE_KILL_FILE names a file that arms it: a JSON object with `nth`, the write to end after, counted from 1
// since the file was written. Each counted write is appended to FILE.log, with its store and collection. Of writes to the
// mailbox that follow each other, the first two are counted: control keeps mail for both proactive nodes.
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openEnvironment } from '@millrace/stores/parts';

const file = process.env.MILLRACE_KILL_FILE;
let armed;
let count = 0;
let mailed = 0;

/** The file is read once for each order of the test. */
function nth() {
  if (!existsSync(file)) {
    armed = undefined;
    return undefined;
  }
  const text = readFileSync(file, 'utf8');
  if (text !== armed) {
    armed = text;
    count = 0;
  }
  return JSON.parse(text).nth;
}

const collectionOf = (key) => /^[a-z-]+(?=\/)/.exec(Buffer.from(key).toString('latin1'))?.[0] ?? '';

async function counted(label, write) {
  const result = await write();
  const wanted = result === 'refused' ? undefined : nth();
  if (wanted === undefined) return result;
  mailed = label === 'mail' ? mailed + 1 : 0;
  if (mailed > 2) return result;
  count++;
  appendFileSync(`${file}.log`, `${label}\n`);
  if (count === wanted) {
    // A process that is started again is not armed.
    rmSync(file);
    process.kill(process.pid, 'SIGKILL');
    await new Promise(() => undefined);
  }
  return result;
}

const scratch = mkdtempSync(join(tmpdir(), 'millrace-kill-'));
const environment = openEnvironment({ path: scratch });
const prototype = Object.getPrototypeOf(environment.store('any'));
const { store } = Object.getPrototypeOf(environment);
await environment.close();
rmSync(scratch, { recursive: true });

const names = new WeakMap();
Object.getPrototypeOf(environment).store = function (name) {
  const found = store.call(this, name);
  names.set(found, name);
  return found;
};
const { swap, batch } = prototype;
prototype.swap = function (key, expected, next, also) {
  return counted(`${names.get(this)} ${collectionOf(key)}`.trim(), () => swap.call(this, key, expected, next, also));
};
prototype.batch = function (writes) {
  const [first] = writes;
  const key = first === undefined ? [] : 'put' in first ? first.put : first.delete;
  return counted(`${names.get(this)} ${collectionOf(key)}`.trim(), () => batch.call(this, writes));
};
