import type { Terminal } from './terminal.ts';

/** Progress of one long operation. */
export interface Progress {
  /** @param detail further information: layer, speed, bytes */
  update(done: number, total: number, detail?: string): void;
  /** Ends the bar and replaces it by `text`. */
  finish(text?: string): void;
}

const BAR_WIDTH = 24;

/** A bar on a terminal; otherwise (a file, CI) a plain line at every tenth. */
export function createProgress(terminal: Terminal, label: string): Progress {
  return terminal.interactive ? barProgress(terminal, label) : lineProgress(terminal, label);
}

function barProgress(terminal: Terminal, label: string): Progress {
  return {
    update: (done, total, detail = '') => {
      const line = `${label} ${bar(share(done, total))} ${percent(done, total)}  ${detail}`;
      terminal.overwrite(line.slice(0, Math.max(20, terminal.columns - 1)));
    },
    finish: (text) => {
      terminal.overwrite('');
      if (text !== undefined) terminal.say(text);
    },
  };
}

function lineProgress(terminal: Terminal, label: string): Progress {
  let told = -1;
  return {
    update: (done, total, detail = '') => {
      const tenth = Math.floor(share(done, total) * 10);
      if (tenth <= told) return;
      told = tenth;
      terminal.say(`${label} ${percent(done, total)}  ${detail}`.trimEnd());
    },
    finish: (text) => {
      if (text !== undefined) terminal.say(text);
    },
  };
}

export function bar(part: number, width = BAR_WIDTH): string {
  const filled = Math.round(part * width);
  return `${'█'.repeat(filled)}${'░'.repeat(width - filled)}`;
}

function share(done: number, total: number): number {
  return total > 0 ? Math.min(1, Math.max(0, done / total)) : 0;
}

function percent(done: number, total: number): string {
  return `${String(Math.floor(share(done, total) * 100)).padStart(3)} %`;
}
