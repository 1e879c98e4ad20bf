/** A line of Grbl 1.1 (gnea/grbl, doc/markdown/interface.md). */
export type Reply =
  | { readonly type: 'ok' }
  | { readonly type: 'error'; readonly code: number }
  | { readonly type: 'alarm'; readonly code: number }
  | { readonly type: 'banner'; readonly version: string }
  | { readonly type: 'status'; readonly status: Status }
  | { readonly type: 'build'; readonly version: string; readonly name: string }
  | { readonly type: 'options'; readonly rxBytes: number }
  | { readonly type: 'setting'; readonly number: number; readonly value: number }
  /** One of the lines that `$#` prints: G54 to G59, G92, or the length of the tool. */
  | { readonly type: 'offset'; readonly name: string; readonly values: readonly number[] }
  | { readonly type: 'message'; readonly text: string }
  | { readonly type: 'other' };

export type Vector = readonly [x: number, y: number, z: number];

/** A real-time status report. Positions in the units of the machine's setting $13. */
export interface Status {
  readonly state: string;
  readonly sub?: number;
  readonly machine?: Vector;
  readonly work?: Vector;
  /** Work position = machine position − offset. Not in every report. */
  readonly offset?: Vector;
  /** Units a minute. */
  readonly feed?: number;
  readonly spindle?: number;
}

/** Reads one line, without its line end. */
export function parseReply(line: string): Reply {
  if (line === 'ok') return { type: 'ok' };
  const code = /^(error|ALARM):\s*(\d+)$/i.exec(line);
  if (code) return { type: code[1]?.toLowerCase() === 'error' ? 'error' : 'alarm', code: Number(code[2]) };
  const banner = /^Grbl(?:HAL)?\s+(\S+)/i.exec(line);
  if (banner) return { type: 'banner', version: banner[1] as string };
  if (line.startsWith('<') && line.endsWith('>')) return parseStatus(line.slice(1, -1));
  const setting = /^\$(\d+)=(-?\d+(?:\.\d+)?)/.exec(line);
  if (setting) return { type: 'setting', number: Number(setting[1]), value: Number(setting[2]) };
  const build = /^\[VER:([^:\]]*):?([^\]]*)\]$/.exec(line);
  if (build) return { type: 'build', version: build[1] as string, name: (build[2] as string).trim() };
  const options = /^\[OPT:[^,\]]*,\d+,(\d+)/.exec(line);
  if (options) return { type: 'options', rxBytes: Number(options[1]) };
  const offset = /^\[(G5[4-9]|G92|TLO):(-?[\d.]+(?:,-?[\d.]+)*)\]$/.exec(line);
  if (offset) {
    const values = (offset[2] as string).split(',').map(Number);
    return values.every(Number.isFinite) ? { type: 'offset', name: offset[1] as string, values } : { type: 'other' };
  }
  const message = /^\[MSG:([^\]]*)\]$/.exec(line);
  if (message) return { type: 'message', text: message[1] as string };
  return { type: 'other' };
}

function parseStatus(text: string): Reply {
  const [head = '', ...fields] = text.split('|');
  const [state = '', sub] = head.split(':');
  if (!/^[A-Z][a-z]+$/.test(state)) return { type: 'other' };
  const values = new Map(
    fields.map((field) => {
      const [name = '', list = ''] = field.split(':');
      return [name, list.split(',').map(Number)] as const;
    }),
  );
  const vector = (name: string): Vector | undefined => {
    const [x, y, z] = values.get(name) ?? [];
    return x === undefined || y === undefined || z === undefined || !Number.isFinite(x + y + z) ? undefined : [x, y, z];
  };
  const [feed, spindle] = values.get('FS') ?? values.get('F') ?? [];
  const [machine, work, offset] = [vector('MPos'), vector('WPos'), vector('WCO')];
  return {
    type: 'status',
    status: {
      state,
      ...(sub === undefined ? {} : { sub: Number(sub) }),
      ...(machine === undefined ? {} : { machine }),
      ...(work === undefined ? {} : { work }),
      ...(offset === undefined ? {} : { offset }),
      ...(feed === undefined || !Number.isFinite(feed) ? {} : { feed }),
      ...(spindle === undefined || !Number.isFinite(spindle) ? {} : { spindle }),
    },
  };
}
