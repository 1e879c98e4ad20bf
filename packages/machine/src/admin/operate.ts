import { connect } from 'node:net';
import { join } from 'node:path';
import { isErrorCode, MillraceError, parse } from '@millrace/base';
import {
  type OperatorRequest,
  type OperatorStatus,
  operatorAnswer,
  operatorRequest,
  SOCKET,
} from '../agent/operator-messages.ts';
import { lineOf } from '../agent/operator-socket.ts';

/** Time for a machine to stand still: the moves that it has already are executed first. */
const ANSWER_MS = 15 * 60_000;

export const operatorCommands: readonly OperatorRequest['command'][] = operatorRequest.shape.command.options;

/** The answer in words. @param machine as it is called here */
export function statusText(machine: string, { state, prints, pause, held }: OperatorStatus): string {
  const lines = [`Machine ${machine} is ${state}; ${prints ? 'a print is under way' : 'no print is under way'}.`];
  if (pause !== undefined) lines.push(`Paused: ${pause.cause}. Next: ${pause.nextStep}.`);
  else if (held !== undefined) lines.push(`Held: ${held.cause}. It takes no work until \`resume\`.`);
  return lines.join('\n');
}

/**
 * Commands the machine whose agent works in this folder, on this computer and without the cloud.
 * @throws {MillraceError} E_UNAVAILABLE if the agent does not run, E_STATE if there is nothing to do, E_MACHINE
 */
export async function operate(folder: string, request: OperatorRequest): Promise<OperatorStatus> {
  const socket = connect(join(folder, SOCKET));
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', (cause) =>
        reject(new MillraceError('E_UNAVAILABLE', `the agent in ${folder} does not run on this computer`, { cause })),
      );
    });
    socket.write(`${JSON.stringify(request)}\n`);
    const answer = parse(operatorAnswer, await lineOf(socket, { ms: ANSWER_MS }), 'answer of the agent');
    if ('status' in answer) return answer.status;
    const { code, message } = answer.error;
    throw new MillraceError(isErrorCode(code) ? code : 'E_INTERNAL', message);
  } finally {
    socket.destroy();
  }
}
