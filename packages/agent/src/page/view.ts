import type { MillraceError } from '@millrace/base';
import type { AgentStatus } from '@millrace/machine/agent';
import type { SiteMachine } from '../site.ts';

/** Who has to act next. */
export type WaitsFor = 'cloud' | 'operator' | 'administrator' | 'machine' | 'material' | 'holder' | 'person';

/** One machine as the page shows it. */
export interface MachineView {
  readonly title: string;
  /** Kind and serial number, once they are known. */
  readonly about: string;
  readonly tone: 'good' | 'waits' | 'bad';
  readonly headline: string;
  readonly waitsFor?: WaitsFor;
  /** What has to happen next. */
  readonly next?: string;
  readonly code?: { readonly text: string; readonly expires: string };
  readonly progress?: { readonly taken: number; readonly got: number };
  readonly rows: readonly (readonly [label: string, value: string])[];
}

/** Words of the page for a machine's state. */
export function viewOf(machine: SiteMachine, now: number): MachineView {
  const { rows, ...view } = stateView(machine, now);
  return { ...view, rows: machine.key === undefined ? rows : [...rows, ['key', keyText(machine.key)]] };
}

/** Where the machine's identity key is: the grade that certificates state. */
function keyText({ token }: NonNullable<SiteMachine['key']>): string {
  if (token === undefined) return 'in a file: whoever copies it can act as the machine';
  const { manufacturer, model, serial, hardware } = token;
  return `in the ${hardware ? 'hardware' : 'software'} token ${manufacturer} ${model}, ${serial}`;
}

function stateView({ slot, state, cloud }: SiteMachine, now: number): MachineView {
  const title = `Machine ${slot}`;
  switch (state.step) {
    case 'starting':
      return { title, about: '', tone: 'waits', headline: 'The agent of this machine starts.', rows: [] };
    case 'failed':
      return {
        ...{ title, about: '', tone: 'bad', headline: 'The agent of this machine does not start.' },
        ...{ waitsFor: 'person', next: reasonOf(state.error), rows: [] },
      };
    case 'code':
      return cloud === undefined
        ? {
            ...{ title, about: '', tone: 'waits', headline: 'Not paired yet.', waitsFor: 'operator' },
            next: 'Give this code to the operator of the machine, by telephone or in person:',
            code: { text: state.code, expires: `New code in ${minutes(state.expires - now)}.` },
            rows: [['the operator enters', `millrace machine pair ${state.code} --name … --kind … --serial …`]],
          }
        : cloudLost(title, cloud);
    case 'admission':
      return {
        ...{
          title: state.name,
          about: `paired by ${state.by}`,
          tone: 'waits',
          headline: 'Paired, not registered yet.',
        },
        waitsFor: cloud === undefined ? 'administrator' : 'cloud',
        next:
          cloud === undefined
            ? `The administrator runs: millrace machine admit ${state.name}`
            : `The cloud does not answer: ${cloud.message}`,
        rows: [],
      };
    case 'running': {
      const { name, kind, serial, agent, settings } = state;
      const { rows, ...running } = runningView(agent.status(), now);
      const version: MachineView['rows'] = settings === undefined ? [] : [['settings', `version ${settings}`]];
      return { title: name, about: `${kind}, ${serial}`, ...running, rows: [...rows, ...version] };
    }
  }
}

function cloudLost(title: string, error: MillraceError): MachineView {
  const next = `${error.message}. Check the network, and the address that the agent was started with.`;
  return { title, about: '', tone: 'bad', headline: 'The cloud does not answer.', waitsFor: 'cloud', next, rows: [] };
}

type Said = Pick<MachineView, 'tone' | 'headline' | 'progress'> & Partial<Pick<MachineView, 'waitsFor' | 'next'>>;

function runningView(status: AgentStatus, now: number): Omit<MachineView, 'title' | 'about'> {
  return { ...(status.print === undefined ? idle(status) : printing(status)), rows: rowsOf(status, now) };
}

function printing({ print, connected, machine }: AgentStatus): Said {
  const { segments, got = 0, taken = 0, bufferMs } = print ?? {};
  const share = (count: number) => (segments === undefined ? 0 : count / segments);
  const progress = { taken: share(taken), got: share(got) };
  const percent = `${Math.floor(100 * progress.taken)} %`;
  if (machine.pause !== undefined) {
    const { actor, cause, nextStep } = machine.pause;
    const by = {
      agent: 'the agent',
      operator: 'the operator',
      owner: 'the owner of the design',
      controller: 'the controller',
      person: 'a person at the machine',
    }[actor];
    return {
      ...{ tone: 'bad', headline: `Paused at ${percent} by ${by}: ${cause}.` },
      ...{ waitsFor: 'person', next: nextStep, progress },
    };
  }
  if (machine.state === 'failed' || machine.state === 'stopped')
    return {
      ...{ tone: 'bad', headline: `Stopped at ${percent}: the machine does not go on.`, progress },
      ...{ waitsFor: 'person', next: 'Check the machine and remove what lies on it.' },
    };
  const all = segments !== undefined && got === segments;
  if (!connected && !all) {
    const left = bufferMs === undefined ? '' : ` It works from its buffer for ${seconds(bufferMs)}.`;
    return {
      ...{ tone: 'bad', headline: `Printing, ${percent}. The cloud is not reached.${left}` },
      ...{ waitsFor: 'cloud', next: 'The agent connects again by itself. Check the network.', progress },
    };
  }
  if (machine.starved)
    return {
      ...{ tone: 'bad', headline: `Printing, ${percent}. The machine waits for data.`, progress },
      ...{ waitsFor: 'cloud', next: 'The network is too slow. The machine stands still meanwhile.' },
    };
  if (segments === undefined)
    return {
      tone: 'waits',
      headline: 'A print begins.',
      waitsFor: 'cloud',
      next: 'The permit and the stream follow.',
      progress,
    };
  return { tone: 'good', headline: `Printing, ${percent}.`, progress };
}

function idle({ step, connected, held, problem, last }: AgentStatus): Said {
  if (held !== undefined)
    return {
      ...{ tone: 'bad', headline: `Held: ${held}. No print begins.`, waitsFor: 'person' },
      next: 'Remove the cause, then: millrace-agent resume',
    };
  if (step === 'machine' && problem !== undefined)
    return {
      ...{ tone: 'bad', headline: 'The machine is not ready.', waitsFor: 'machine' },
      next: `${reasonOf(problem)} Check power and cable.`,
    };
  if (!connected)
    return {
      ...{ tone: 'bad', headline: 'The cloud is not reached. No new print begins.', waitsFor: 'cloud' },
      next: 'The agent connects again by itself. Check the network.',
    };
  if (last?.error?.code === 'E_MATERIAL')
    return {
      ...{ tone: 'bad', headline: 'The last print was refused: the material does not fit.', waitsFor: 'material' },
      next: 'Load a spool that the licence allows, and state it: millrace spool load',
    };
  if (step === 'reports')
    return { tone: 'waits', headline: 'The cloud takes the reports of earlier prints.', waitsFor: 'cloud' };
  if (step === 'work' && problem === undefined)
    return { tone: 'good', headline: 'Ready.', waitsFor: 'holder', next: 'The holder of a licence requests a print.' };
  return {
    ...{ tone: 'waits', headline: 'The agent prepares.', waitsFor: 'machine' },
    ...(problem === undefined ? {} : { next: reasonOf(problem) }),
  };
}

function rowsOf({ connected, machine, print, last }: AgentStatus, now: number): MachineView['rows'] {
  const rows: (readonly [string, string])[] = [
    ['cloud', connected ? 'connected' : 'not reached'],
    ['machine', machine.state],
  ];
  for (const [heater, heat] of Object.entries(machine.temperatures))
    if (heat !== undefined) rows.push([heater, `${Math.round(heat.now)} of ${Math.round(heat.target)} °C`]);
  if (print !== undefined) {
    if (print.object !== undefined) rows.push(['object', print.object]);
    rows.push(['buffer', print.bufferMs === undefined ? 'not known yet' : seconds(print.bufferMs)]);
    rows.push(['since', minutes(now - print.startedAt)]);
    if (print.sessions > 1) rows.push(['stream begun', `${print.sessions} times`]);
  }
  if (last !== undefined) {
    const how = last.error === undefined ? 'completed' : `${last.error.code}: ${last.error.message}`;
    rows.push(['last print', `${how}, ${minutes(now - last.at)} ago`]);
    if (last.starvedSeconds > 0) rows.push(['it waited for data', seconds(1000 * last.starvedSeconds)]);
  }
  return rows;
}

const reasonOf = ({ code, message }: MillraceError): string => `${message} (${code}).`;

const seconds = (ms: number): string => `${Math.max(0, ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;

function minutes(ms: number): string {
  const left = Math.max(0, Math.round(ms / 1000));
  return left < 120 ? `${left} s` : `${Math.round(left / 60)} min`;
}
